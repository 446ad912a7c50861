// Texture sampling on the CPU, for texture() and shade(). Texels lie channels last, mip levels one after the other:
// [B or 1, sum of height_l * width_l, C]. Bilinear sampling with clamp, the product's, has its own vectorised loops.
#pragma once

#include <memory>

#include "cpu.h"

namespace ops {

inline bool has_fast_path(const Sampler& sampler) { return sampler.filter == kBilinear && sampler.boundary == kClamp; }

// Bilinear taps of many samples: texel (y0, x0), what leads to x1 and to y1, fractions. `texel` < 0: no sample.
template <typename scalar_t>
struct TapRow {
  std::unique_ptr<int32_t[]> texel, right, down;
  std::unique_ptr<scalar_t[]> fx, fy;

  explicit TapRow(int64_t count)
      : texel(new int32_t[count]), right(new int32_t[count]), down(new int32_t[count]), fx(new scalar_t[count]),
        fy(new scalar_t[count]) {}
};

// Fills taps [first, first + count) from uv pairs; where `keep` is given and 0, there is no sample.
void make_taps(const Sampler& sampler, const float* uv, const uint8_t* keep, int64_t first, int64_t count,
               TapRow<float>& taps);
void make_taps(const Sampler& sampler, const double* uv, const uint8_t* keep, int64_t first, int64_t count,
               TapRow<double>& taps);

// Samples [first, first + count) into `out` [count, C]; zeros where there is no sample.
void fetch_taps(const TapRow<float>& taps, int64_t first, int64_t count, const float* texels, int64_t channels,
                float* out);
void fetch_taps(const TapRow<double>& taps, int64_t first, int64_t count, const double* texels, int64_t channels,
                double* out);

// Gradient of samples [first, first + count) to their uv, from `grad` [count, C]; nothing where there is no sample.
void fetch_taps_backward(const Sampler& sampler, const TapRow<float>& taps, int64_t first, int64_t count,
                         const float* texels, const float* grad, int64_t channels, float* grad_uv);
void fetch_taps_backward(const Sampler& sampler, const TapRow<double>& taps, int64_t first, int64_t count,
                         const double* texels, const double* grad, int64_t channels, double* grad_uv);

// Adds samples' gradients to the texels of one part of the map, in sample order: see scatter_texels().
void scatter_part(const TapRow<float>& taps, int64_t count, const float* grad, int64_t channels, int part, int parts,
                  float* grad_texels);
void scatter_part(const TapRow<double>& taps, int64_t count, const double* grad, int64_t channels, int part, int parts,
                  double* grad_texels);

constexpr int kPartShift = 10;  // texels are dealt to parts in blocks of 1024

// Calls scatter(part, parts) on all threads. A part owns some of the texels; it walks all samples in order and adds to
// its own, so that each texel's sum is in sample order whatever the number of threads.
template <typename F>
void scatter_texels(const F& scatter) {
  int parts = 1;
  while (parts < int(torch::stable::get_num_threads())) parts *= 2;
  for_each_task(parts, [&](int64_t part) { scatter(int(part), parts); });
}

// ---- any filter and boundary, one sample at a time --------------------------------------------------------------

template <typename scalar_t>
void fetch(const TapList<scalar_t>& taps, const scalar_t* texels, int64_t channels, scalar_t* out) {
  for (int64_t c = 0; c < channels; ++c) out[c] = taps.weight[0] * texels[taps.texel[0] * channels + c];
  for (int i = 1; i < taps.count; ++i)
    for (int64_t c = 0; c < channels; ++c) out[c] += taps.weight[i] * texels[taps.texel[i] * channels + c];
}

// Gradient of one sample to its uv.
template <typename scalar_t>
void fetch_backward_uv(const TapList<scalar_t>& taps, const scalar_t* texels, const scalar_t* grad, int64_t channels,
                       scalar_t grad_uv[2]) {
  double grad_u = 0., grad_v = 0.;
  for (int i = 0; i < taps.count; ++i) {
    scalar_t dot = 0;
    for (int64_t c = 0; c < channels; ++c) dot += grad[c] * texels[taps.texel[i] * channels + c];
    grad_u += double(taps.du[i] * dot);
    grad_v += double(taps.dv[i] * dot);
  }
  grad_uv[0] = scalar_t(grad_u);
  grad_uv[1] = scalar_t(grad_v);
}

template <typename scalar_t>
void scatter_part(const std::vector<TapList<scalar_t>>& taps, const scalar_t* grad, int64_t channels, int part,
                  int parts, scalar_t* grad_texels) {
  for (size_t sample = 0; sample < taps.size(); ++sample) {
    const TapList<scalar_t>& list = taps[sample];
    const scalar_t* source = grad + sample * channels;
    for (int i = 0; i < list.count; ++i) {
      if (((list.texel[i] >> kPartShift) & (parts - 1)) != part) continue;
      scalar_t* target = grad_texels + list.texel[i] * channels;
      for (int64_t c = 0; c < channels; ++c) target[c] += list.weight[i] * source[c];
    }
  }
}

}  // namespace ops
