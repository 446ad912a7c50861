// texture() on the CPU.
#include "texture_cpu.h"

namespace ops {
namespace {

constexpr int64_t kTaskPixels = 2048;

Tensor texture(const Tensor& texels, const Tensor& uv, const std::optional<Tensor>& uv_da, int64_t height,
               int64_t width, int64_t levels, int64_t filter, int64_t boundary, bool /*deterministic*/) {
  const Sampler sampler{int(height), int(width), int(levels), Filter(filter), Boundary(boundary)};
  const int64_t channels = texels.size(2), image = uv.size(1) * uv.size(2), pixels = uv.size(0) * image;
  const int64_t batch_stride = texels.size(0) > 1 ? texels.size(1) * channels : 0;
  const Tensor out = torch::stable::new_empty(texels, {uv.size(0), uv.size(1), uv.size(2), channels});
  OPS_DISPATCH_FLOATING(texels, [&] {
    const scalar_t* coordinates = data<scalar_t>(uv);
    const scalar_t* footprints = uv_da ? data<scalar_t>(*uv_da) : nullptr;
    for_each_task((pixels + kTaskPixels - 1) / kTaskPixels, [&](int64_t task) {
      for (int64_t i = task * kTaskPixels; i < std::min(pixels, (task + 1) * kTaskPixels); ++i) {
        const auto taps = list_taps<scalar_t>(sampler, coordinates[2 * i], coordinates[2 * i + 1],
                                              footprints ? footprints + 4 * i : nullptr);
        fetch(taps, data<scalar_t>(texels) + i / image * batch_stride, channels,
              mutable_data<scalar_t>(out) + i * channels);
      }
    });
  });
  return out;
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
    std::vector<TapList<scalar_t>> taps(image);
    for (int64_t batch = 0; batch < uv.size(0); ++batch) {
      const int64_t first = batch * image;
      const scalar_t* source = data<scalar_t>(grad) + first * channels;
      for_each_task((image + kTaskPixels - 1) / kTaskPixels, [&](int64_t task) {
        for (int64_t i = task * kTaskPixels; i < std::min(image, (task + 1) * kTaskPixels); ++i) {
          const scalar_t* at = data<scalar_t>(uv) + 2 * (first + i);
          taps[i] = list_taps<scalar_t>(sampler, at[0], at[1],
                                        uv_da ? data<scalar_t>(*uv_da) + 4 * (first + i) : nullptr);
          double grad_u = 0., grad_v = 0.;
          fetch_backward_uv(taps[i], data<scalar_t>(texels) + batch * batch_stride, source + i * channels, channels,
                            grad_u, grad_v);
          mutable_data<scalar_t>(grad_uv)[2 * (first + i)] = scalar_t(grad_u);
          mutable_data<scalar_t>(grad_uv)[2 * (first + i) + 1] = scalar_t(grad_v);
        }
      });
      scatter_texels(taps, source, channels, mutable_data<scalar_t>(grad_texels) + batch * batch_stride);
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
