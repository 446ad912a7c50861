// Texture sampling on CUDA, for texture() and shade(). Texels lie channels last, mip levels one after the other.
#pragma once

#include "cuda.cuh"

namespace ops {

// Channel c of one sample. The order of the sum is that of the CPU.
template <typename texel_t, typename T>
__device__ T fetch(const TapList<T>& taps, const texel_t* texels, int64_t channels, int64_t c) {
  T sum = taps.weight[0] * load(texels[taps.texel[0] * channels + c]);
  for (int i = 1; i < taps.count; ++i) sum += taps.weight[i] * load(texels[taps.texel[i] * channels + c]);
  return sum;
}

// Gradient of one sample to its uv, over all channels.
template <typename texel_t, typename T>
__device__ void fetch_backward_uv(const TapList<T>& taps, const texel_t* texels, const texel_t* grad, int64_t channels,
                                  double grad_uv[2]) {
  for (int i = 0; i < taps.count; ++i) {
    T dot = 0;
    for (int64_t c = 0; c < channels; ++c) dot += load(grad[c]) * load(texels[taps.texel[i] * channels + c]);
    grad_uv[0] += double(taps.du[i] * dot);
    grad_uv[1] += double(taps.dv[i] * dot);
  }
}

// Channel c of one sample's gradient to its texels; `first` is the image's place in the gradient.
template <typename T, typename Sum>
__device__ void scatter(const TapList<T>& taps, T grad, int64_t channels, int64_t c, int64_t first, const Sum& sum) {
  for (int i = 0; i < taps.count; ++i)
    sum.add(first + taps.texel[i] * channels + c, double(taps.weight[i] * grad));
}

}  // namespace ops
