
for (const player of document.querySelectorAll('.player')) {
  const videos = [...player.querySelectorAll('video')], data = JSON.parse(player.dataset.frames);
  const sound = player.querySelector('audio'), media = sound ? [...videos, sound] : videos, fold = player.closest('details');
  const seek = player.querySelector('input'), time = player.querySelector('.time'), strip = player.querySelector('canvas');
  const at = data.times, last = at.length - 1, lead = videos[0];
  const frame = () => { let i = 0; while (i < last && at[i + 1] <= lead.currentTime + 1e-4) i++; return i; };
  const show = i => { i = Math.max(0, Math.min(last, i));
    const t = i < last ? (at[i] + at[i + 1]) / 2 : at[i] + 1e-3; media.forEach(v => { v.pause(); v.currentTime = t; });
    label(i); };
  const label = i => { seek.value = i; player.dataset.frame = i;
    time.textContent = 'frame ' + i + '  ' + at[i].toFixed(3) + ' s' + (data.status.length ? '  ' + data.status[i] : ''); };
  seek.max = last; seek.oninput = () => show(+seek.value);
  player.querySelector('.back').onclick = () => show(frame() - 1);
  player.querySelector('.next').onclick = () => show(frame() + 1);
  player.querySelector('.play').onclick = () => { if (lead.paused) { const t = lead.ended ? 0 : lead.currentTime;
    media.forEach(v => { v.currentTime = t; }); media.forEach(v => v.play()); } else media.forEach(v => v.pause()); };
  lead.ontimeupdate = () => { if (lead.paused) return; label(frame());
    videos.forEach(v => { if (Math.abs(v.currentTime - lead.currentTime) > 0.08) v.currentTime = lead.currentTime; }); };
  // A moment plays with half a second on either side, and stands at its frame again.
  let stop = null;
  const around = i => { stop = null; show(i); const from = Math.max(0, at[i] - 0.5), to = Math.min(at[last], at[i] + 0.5);
    media.forEach(v => { v.currentTime = from; }); stop = { at: to, frame: i };
    Promise.all(media.map(v => v.play())).catch(() => { if (stop) { stop = null; show(i); } }); };
  lead.addEventListener('timeupdate', () => { if (stop && !lead.paused && lead.currentTime >= stop.at) {
    const i = stop.frame; stop = null; show(i); } });
  lead.onended = () => media.forEach(v => v.pause());
  // A page may hold more videos than a browser keeps open: those of a folded player are loaded while it is unfolded.
  if (fold) fold.addEventListener('toggle', () => media.forEach(v => {
    if (fold.open) v.src = v.dataset.src; else { v.pause(); v.removeAttribute('src'); v.load(); } }));
  document.querySelectorAll('[data-seek="' + player.id + '"]').forEach(a => a.onclick = e => {
    e.preventDefault(); if (fold) fold.open = true; around(+a.dataset.index); player.scrollIntoView(); });
  if (strip) { strip.width = at.length; strip.height = 1; const ink = strip.getContext('2d');
    data.status.forEach((s, i) => { ink.fillStyle = data.colours[s] || '#000'; ink.fillRect(i, 0, 1, 1); });
    strip.onclick = e => show(Math.floor(e.offsetX / strip.clientWidth * at.length)); }
  label(0);
}
