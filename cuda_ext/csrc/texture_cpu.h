// Texture sampling on the CPU, for texture() and shade(). Texels lie channels last, mip levels one after the other:
// [B or 1, sum of height_l * width_l, C].
#pragma once

#include "cpu.h"

namespace ops {

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
