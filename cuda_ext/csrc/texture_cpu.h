// Texture sampling on the CPU, for texture() and shade(). Texels lie channels last, mip levels one after the other:
// [B or 1, sum of height_l * width_l, C].
#pragma once

#include "cpu.h"

namespace ops {

struct Sampler {
  int height, width, levels;
  Filter filter;
  Boundary boundary;
};

// Up to two mip levels of four taps. `du`, `dv` are the derivatives of the weights to uv.
template <typename scalar_t>
struct TapList {
  int count = 0;
  int32_t texel[8];
  scalar_t weight[8], du[8], dv[8];

  void add(int64_t index, double w, double w_du, double w_dv) {
    texel[count] = int32_t(index);
    weight[count] = scalar_t(w);
    du[count] = scalar_t(w_du);
    dv[count] = scalar_t(w_dv);
    ++count;
  }

  void add_bilinear(const Sampler& sampler, double u, double v, int level, int64_t first, double scale) {
    const int height = sampler.height >> level, width = sampler.width >> level;
    const Taps taps = bilinear_taps(u, v, height, width, sampler.boundary);
    const double gx = 1. - taps.fx, gy = 1. - taps.fy, sx = scale * width, sy = scale * height;
    add(first + taps.offset[0], scale * gx * gy, -sx * gy, -sy * gx);
    add(first + taps.offset[1], scale * taps.fx * gy, sx * gy, -sy * taps.fx);
    add(first + taps.offset[2], scale * gx * taps.fy, -sx * taps.fy, sy * gx);
    add(first + taps.offset[3], scale * taps.fx * taps.fy, sx * taps.fy, sy * taps.fx);
  }
};

template <typename scalar_t>
TapList<scalar_t> list_taps(const Sampler& sampler, double u, double v, const scalar_t* uv_da) {
  TapList<scalar_t> list;
  if (sampler.filter == kNearest) {
    list.add(nearest_tap(u, v, sampler.height, sampler.width, sampler.boundary), 1., 0., 0.);
  } else if (sampler.filter == kBilinear) {
    list.add_bilinear(sampler, u, v, 0, 0, 1.);
  } else {
    const double footprint[4] = {double(uv_da[0]), double(uv_da[1]), double(uv_da[2]), double(uv_da[3])};
    const double position = mip_level(footprint, sampler.height, sampler.width, sampler.levels);
    const int level = int(position);
    int64_t first = 0;
    for (int i = 0; i < level; ++i) first += int64_t(sampler.height >> i) * (sampler.width >> i);
    const double coarse = position - level;
    list.add_bilinear(sampler, u, v, level, first, 1. - coarse);
    if (coarse > 0.)
      list.add_bilinear(sampler, u, v, level + 1, first + int64_t(sampler.height >> level) * (sampler.width >> level),
                        coarse);
  }
  return list;
}

template <typename scalar_t>
void fetch(const TapList<scalar_t>& taps, const scalar_t* texels, int64_t channels, scalar_t* out) {
  for (int64_t c = 0; c < channels; ++c) out[c] = taps.weight[0] * texels[taps.texel[0] * channels + c];
  for (int i = 1; i < taps.count; ++i)
    for (int64_t c = 0; c < channels; ++c) out[c] += taps.weight[i] * texels[taps.texel[i] * channels + c];
}

// Gradient of one sample to its uv.
template <typename scalar_t>
void fetch_backward_uv(const TapList<scalar_t>& taps, const scalar_t* texels, const scalar_t* grad, int64_t channels,
                       double& grad_u, double& grad_v) {
  for (int i = 0; i < taps.count; ++i) {
    scalar_t dot = 0;
    for (int64_t c = 0; c < channels; ++c) dot += grad[c] * texels[taps.texel[i] * channels + c];
    grad_u += double(taps.du[i] * dot);
    grad_v += double(taps.dv[i] * dot);
  }
}

// Adds the samples' gradients to the texels. Texels are dealt to tasks in blocks; every task walks all samples in
// order and adds to its own texels, so that each texel's sum is in sample order whatever the number of threads.
template <typename scalar_t>
void scatter_texels(const std::vector<TapList<scalar_t>>& taps, const scalar_t* grad, int64_t channels,
                    scalar_t* grad_texels) {
  constexpr int32_t block = 1024;
  const int32_t tasks = int32_t(torch::stable::get_num_threads());
  for_each_task(tasks, [&](int64_t task) {
    for (size_t sample = 0; sample < taps.size(); ++sample) {
      const TapList<scalar_t>& list = taps[sample];
      const scalar_t* source = grad + sample * channels;
      for (int i = 0; i < list.count; ++i) {
        if ((list.texel[i] / block) % tasks != task) continue;
        scalar_t* target = grad_texels + list.texel[i] * channels;
        for (int64_t c = 0; c < channels; ++c) target[c] += list.weight[i] * source[c];
      }
    }
  });
}

}  // namespace ops
