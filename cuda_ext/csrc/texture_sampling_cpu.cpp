// The inner loops of bilinear sampling with clamp on the CPU. Channels go through in blocks of 16; a rest follows singly.
#include <type_traits>

#include "texture_sampling_cpu.h"

namespace ops {
namespace {

template <typename scalar_t>
OPS_INLINE void make(const Sampler& sampler, const scalar_t* __restrict uv, const uint8_t* keep, int64_t first,
                     int64_t count, TapRow<scalar_t>& taps) {
  int32_t* __restrict texel = taps.texel.get() + first;
  int32_t* __restrict right = taps.right.get() + first;
  int32_t* __restrict down = taps.down.get() + first;
  scalar_t* __restrict fx = taps.fx.get() + first;
  scalar_t* __restrict fy = taps.fy.get() + first;
  const int32_t width = sampler.width, last_x = sampler.width - 1, last_y = sampler.height - 1;
  const scalar_t scale_x = sampler.width, scale_y = sampler.height;
  for (int64_t i = 0; i < count; ++i) {  // bilinear_taps() with clamp, in a form that vectorises
    const scalar_t x = finite_coordinate(uv[2 * i] * scale_x - scalar_t(0.5));
    const scalar_t y = finite_coordinate(uv[2 * i + 1] * scale_y - scalar_t(0.5));
    const scalar_t floor_x = std::floor(x), floor_y = std::floor(y);
    const int32_t ix = int32_t(floor_x), iy = int32_t(floor_y);
    const int32_t x0 = std::min(std::max(ix, 0), last_x), x1 = std::min(std::max(ix + 1, 0), last_x);
    const int32_t y0 = std::min(std::max(iy, 0), last_y), y1 = std::min(std::max(iy + 1, 0), last_y);
    texel[i] = y0 * width + x0;
    right[i] = x1 - x0;
    down[i] = (y1 - y0) * width;
    fx[i] = x - floor_x;
    fy[i] = y - floor_y;
  }
  if (keep)
    for (int64_t i = 0; i < count; ++i) texel[i] = keep[i] ? texel[i] : -1;
}

template <typename scalar_t>
struct Weights {
  scalar_t w[4];
  OPS_INLINE Weights(scalar_t fx, scalar_t fy)
      : w{(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy} {}
};

// Calls block(first channel, std::integral_constant of how many) over all channels.
template <typename F>
OPS_INLINE void over_channels(int64_t channels, const F& block) {
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) block(c, std::integral_constant<int, kLanes>());
  for (; c < channels; ++c) block(c, std::integral_constant<int, 1>());
}

template <typename scalar_t>
OPS_INLINE void fetch_all(const TapRow<scalar_t>& taps, int64_t first, int64_t count, const scalar_t* texels,
                          int64_t channels, scalar_t* out) {
  for (int64_t i = first; i < first + count; ++i, out += channels) {
    if (taps.texel[i] < 0) {
      over_channels(channels, [&](int64_t c, auto lanes) __attribute__((always_inline)) {
        for (int k = 0; k < lanes(); ++k) out[c + k] = 0;
      });
      continue;
    }
    const Weights<scalar_t> weights(taps.fx[i], taps.fy[i]);
    const scalar_t *t00 = texels + taps.texel[i] * channels, *t01 = t00 + taps.right[i] * channels,
                   *t10 = t00 + taps.down[i] * channels, *t11 = t01 + taps.down[i] * channels;
    over_channels(channels, [&](int64_t c, auto lanes) __attribute__((always_inline)) {
      scalar_t sum[lanes()];
      for (int k = 0; k < lanes(); ++k)
        sum[k] = ((weights.w[0] * t00[c + k] + weights.w[1] * t01[c + k]) + weights.w[2] * t10[c + k]) +
                 weights.w[3] * t11[c + k];
      for (int k = 0; k < lanes(); ++k) out[c + k] = sum[k];
    });
  }
}

template <typename scalar_t>
OPS_INLINE void fetch_all_backward(const Sampler& sampler, const TapRow<scalar_t>& taps, int64_t first, int64_t count,
                                   const scalar_t* texels, const scalar_t* grad, int64_t channels, scalar_t* grad_uv) {
  for (int64_t i = first; i < first + count; ++i, grad += channels, grad_uv += 2) {
    if (taps.texel[i] < 0) continue;
    const scalar_t fx = taps.fx[i], fy = taps.fy[i], gx = 1 - fx, gy = 1 - fy;
    const scalar_t *t00 = texels + taps.texel[i] * channels, *t01 = t00 + taps.right[i] * channels,
                   *t10 = t00 + taps.down[i] * channels, *t11 = t01 + taps.down[i] * channels;
    scalar_t along_u[kLanes] = {}, along_v[kLanes] = {};
    over_channels(channels, [&](int64_t c, auto lanes) __attribute__((always_inline)) {
      for (int k = 0; k < lanes(); ++k) {
        const scalar_t a = t00[c + k], b = t01[c + k], d = t10[c + k], e = t11[c + k], g = grad[c + k];
        along_u[k] += g * (gy * (b - a) + fy * (e - d));
        along_v[k] += g * (gx * (d - a) + fx * (e - b));
      }
    });
    for (int step = kLanes / 2; step > 0; step /= 2)
      for (int k = 0; k < step; ++k) {
        along_u[k] += along_u[k + step];
        along_v[k] += along_v[k + step];
      }
    grad_uv[0] = along_u[0] * sampler.width;
    grad_uv[1] = along_v[0] * sampler.height;
  }
}

template <typename scalar_t>
OPS_INLINE void scatter_all(const TapRow<scalar_t>& taps, int64_t count, const scalar_t* grad, int64_t channels,
                            int part, int parts, scalar_t* grad_texels) {
  for (int64_t i = 0; i < count; ++i) {
    const int32_t first = taps.texel[i];
    if (first < 0) continue;
    const scalar_t* source = grad + i * channels;
    const Weights<scalar_t> weights(taps.fx[i], taps.fy[i]);
    const int32_t texel[4] = {first, first + taps.right[i], first + taps.down[i],
                              first + taps.right[i] + taps.down[i]};
    for (int tap = 0; tap < 4; ++tap) {
      if (((texel[tap] >> kPartShift) & (parts - 1)) != part) continue;
      scalar_t* target = grad_texels + texel[tap] * channels;
      const scalar_t weight = weights.w[tap];
      over_channels(channels, [&](int64_t c, auto lanes) __attribute__((always_inline)) {
        scalar_t sum[lanes()];
        for (int k = 0; k < lanes(); ++k) sum[k] = target[c + k] + weight * source[c + k];
        for (int k = 0; k < lanes(); ++k) target[c + k] = sum[k];
      });
    }
  }
}

}  // namespace

#define OPS_SAMPLER(scalar_t)                                                                                          \
  OPS_CLONES void make_taps(const Sampler& sampler, const scalar_t* uv, const uint8_t* keep, int64_t first,            \
                            int64_t count, TapRow<scalar_t>& taps) {                                                   \
    make(sampler, uv, keep, first, count, taps);                                                                       \
  }                                                                                                                    \
  OPS_CLONES void fetch_taps(const TapRow<scalar_t>& taps, int64_t first, int64_t count, const scalar_t* texels,       \
                             int64_t channels, scalar_t* out) {                                                        \
    fetch_all(taps, first, count, texels, channels, out);                                                              \
  }                                                                                                                    \
  OPS_CLONES void fetch_taps_backward(const Sampler& sampler, const TapRow<scalar_t>& taps, int64_t first,             \
                                      int64_t count, const scalar_t* texels, const scalar_t* grad, int64_t channels,   \
                                      scalar_t* grad_uv) {                                                             \
    fetch_all_backward(sampler, taps, first, count, texels, grad, channels, grad_uv);                                  \
  }                                                                                                                    \
  OPS_CLONES void scatter_part(const TapRow<scalar_t>& taps, int64_t count, const scalar_t* grad, int64_t channels,    \
                               int part, int parts, scalar_t* grad_texels) {                                           \
    scatter_all(taps, count, grad, channels, part, parts, grad_texels);                                                \
  }

OPS_SAMPLER(float)
OPS_SAMPLER(double)

}  // namespace ops
