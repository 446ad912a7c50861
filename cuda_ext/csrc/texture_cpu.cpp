// texture() on the CPU.
#include "texture_sampling_cpu.h"

namespace ops {
namespace {

constexpr int64_t kTaskPixels = 2048;

Tensor texture(const Tensor& texels, const Tensor& uv, const std::optional<Tensor>& uv_da, int64_t height,
               int64_t width, int64_t levels, int64_t filter, int64_t boundary, bool /*deterministic*/) {
  const Sampler sampler{int(height), int(width), int(levels), Filter(filter), Boundary(boundary)};
  const int64_t channels = texels.size(2), image = uv.size(1) * uv.size(2);
  const int64_t batch_stride = texels.size(0) > 1 ? texels.size(1) * channels : 0;
  const Tensor out = torch::stable::new_empty(texels, {uv.size(0), uv.size(1), uv.size(2), channels});
  const int64_t tasks = (image + kTaskPixels - 1) / kTaskPixels;  // of one image
  OPS_DISPATCH_FLOATING(texels, [&] {
    for_each_task(uv.size(0) * tasks, [&](int64_t task) {
      const int64_t batch = task / tasks, begin = task % tasks * kTaskPixels, end = std::min(image, begin + kTaskPixels);
      const scalar_t* map = data<scalar_t>(texels) + batch * batch_stride;
      const scalar_t* coordinates = data<scalar_t>(uv) + 2 * (batch * image + begin);
      scalar_t* target = mutable_data<scalar_t>(out) + (batch * image + begin) * channels;
      if (has_fast_path(sampler)) {
        TapRow<scalar_t> taps(end - begin);
        make_taps(sampler, coordinates, nullptr, 0, end - begin, taps);
        fetch_taps(taps, 0, end - begin, map, channels, target);
        return;
      }
      const scalar_t* footprints = uv_da ? data<scalar_t>(*uv_da) + 4 * (batch * image + begin) : nullptr;
      for (int64_t i = 0; i < end - begin; ++i)
        fetch(list_taps(sampler, coordinates[2 * i], coordinates[2 * i + 1], footprints ? footprints + 4 * i : nullptr),
              map, channels, target + i * channels);
    });
  });
  return out;
}

// Adds one image to the gradients: first taps and gradients to uv in parallel, then sums per texel.
template <typename scalar_t>
void texture_backward_image(const Sampler& sampler, const scalar_t* map, const scalar_t* uv, const scalar_t* uv_da,
                            const scalar_t* grad, int64_t image, int64_t channels, scalar_t* grad_map,
                            scalar_t* grad_uv) {
  const bool fast = has_fast_path(sampler);
  TapRow<scalar_t> taps(fast ? image : 0);
  std::vector<TapList<scalar_t>> lists(fast ? 0 : image);
  for_each_task((image + kTaskPixels - 1) / kTaskPixels, [&](int64_t task) {
    const int64_t begin = task * kTaskPixels, end = std::min(image, begin + kTaskPixels);
    if (fast) {
      make_taps(sampler, uv + 2 * begin, nullptr, begin, end - begin, taps);
      fetch_taps_backward(sampler, taps, begin, end - begin, map, grad + begin * channels, channels,
                          grad_uv + 2 * begin);
      return;
    }
    for (int64_t i = begin; i < end; ++i) {
      lists[i] = list_taps(sampler, uv[2 * i], uv[2 * i + 1], uv_da ? uv_da + 4 * i : nullptr);
      fetch_backward_uv(lists[i], map, grad + i * channels, channels, grad_uv + 2 * i);
    }
  });
  scatter_texels([&](int part, int parts) {
    if (fast)
      scatter_part(taps, image, grad, channels, part, parts, grad_map);
    else
      scatter_part(lists, grad, channels, part, parts, grad_map);
  });
}

std::tuple<Tensor, Tensor> texture_backward(const Tensor& texels, const Tensor& uv, const std::optional<Tensor>& uv_da,
                                            const Tensor& grad, int64_t height, int64_t width, int64_t levels,
                                            int64_t filter, int64_t boundary, bool /*deterministic*/) {
  const Sampler sampler{int(height), int(width), int(levels), Filter(filter), Boundary(boundary)};
  const int64_t channels = texels.size(2), image = uv.size(1) * uv.size(2);
  const int64_t batch_stride = texels.size(0) > 1 ? texels.size(1) * channels : 0;
  const Tensor grad_texels = torch::stable::new_zeros(texels, texels.sizes());
  const Tensor grad_uv = torch::stable::new_empty(uv, uv.sizes());
  OPS_DISPATCH_FLOATING(texels, [&] {
    for (int64_t batch = 0; batch < uv.size(0); ++batch) {
      const int64_t first = batch * image;
      texture_backward_image<scalar_t>(
          sampler, data<scalar_t>(texels) + batch * batch_stride, data<scalar_t>(uv) + 2 * first,
          uv_da ? data<scalar_t>(*uv_da) + 4 * first : nullptr, data<scalar_t>(grad) + first * channels, image,
          channels, mutable_data<scalar_t>(grad_texels) + batch * batch_stride,
          mutable_data<scalar_t>(grad_uv) + 2 * first);
    }
  });
  return {grad_texels, grad_uv};
}

}  // namespace
}  // namespace ops

STABLE_TORCH_LIBRARY_IMPL(cuda_ext, CPU, m) {
  m.impl("texture", TORCH_BOX(&ops::texture));
  m.impl("texture_backward", TORCH_BOX(&ops::texture_backward));
}
