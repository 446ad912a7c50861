// texture() on CUDA.
#include "texture_cuda.cuh"

namespace ops {
namespace {

template <typename texel_t>
struct Samples {
  using T = typename CoordinateOf<texel_t>::type;
  Sampler sampler;
  const texel_t* texels;
  const T *uv, *uv_da;  // uv_da may be null
  int64_t channels, batch_stride, image;

  Samples(const Sampler& map, const Tensor& feature_texels, const Tensor& uv_tensor, const std::optional<Tensor>& da)
      : sampler(map),
        texels(data<texel_t>(feature_texels)),
        uv(data<T>(uv_tensor)),
        uv_da(data_or_null<T>(da)),
        channels(feature_texels.size(2)),
        batch_stride(feature_texels.size(0) > 1 ? feature_texels.size(1) * channels : 0),
        image(uv_tensor.size(1) * uv_tensor.size(2)) {}

  __device__ int64_t first(int64_t sample) const { return sample / image * batch_stride; }

  __device__ TapList<T> taps(int64_t sample) const {
    return list_taps(sampler, uv[2 * sample], uv[2 * sample + 1], uv_da ? uv_da + 4 * sample : nullptr);
  }
};

// One thread per value.
template <typename texel_t>
__global__ void texture_kernel(Samples<texel_t> in, int64_t count, texel_t* out) {
  OPS_FOR_EACH(i, count) {
    const int64_t sample = i / in.channels, c = i % in.channels;
    store(out[i], fetch(in.taps(sample), in.texels + in.first(sample), in.channels, c));
  }
}

// One thread per value.
template <typename texel_t, typename Sum>
__global__ void texels_backward_kernel(Samples<texel_t> in, int64_t count, const texel_t* grad, Sum sum) {
  OPS_FOR_EACH(i, count) {
    const int64_t sample = i / in.channels, c = i % in.channels;
    scatter(in.taps(sample), load(grad[i]), in.channels, c, in.first(sample), sum);
  }
}

// One thread per sample.
template <typename texel_t>
__global__ void uv_backward_kernel(Samples<texel_t> in, int64_t count, const texel_t* grad,
                                   typename CoordinateOf<texel_t>::type* grad_uv) {
  OPS_FOR_EACH(sample, count) {
    double slopes[2] = {0., 0.};
    fetch_backward_uv(in.taps(sample), in.texels + in.first(sample), grad + sample * in.channels, in.channels, slopes);
    grad_uv[2 * sample] = static_cast<typename CoordinateOf<texel_t>::type>(slopes[0]);
    grad_uv[2 * sample + 1] = static_cast<typename CoordinateOf<texel_t>::type>(slopes[1]);
  }
}

Tensor texture(const Tensor& texels, const Tensor& uv, const std::optional<Tensor>& uv_da, int64_t height,
               int64_t width, int64_t levels, int64_t filter, int64_t boundary, bool /*deterministic*/) {
  const DeviceGuard guard(texels.get_device_index());
  const cudaStream_t stream = current_stream(texels);
  const Sampler sampler{int(height), int(width), int(levels), Filter(filter), Boundary(boundary)};
  const Tensor out = torch::stable::new_empty(texels, {uv.size(0), uv.size(1), uv.size(2), texels.size(2)});
  const int64_t count = out.numel();
  if (count == 0) return out;
  OPS_DISPATCH_TEXELS(texels, [&] {
    texture_kernel<<<blocks_for(count), kThreads, 0, stream>>>(Samples<texel_t>(sampler, texels, uv, uv_da), count,
                                                               mutable_data<texel_t>(out));
  });
  check_launch("texture");
  return out;
}

std::tuple<Tensor, Tensor> texture_backward(const Tensor& texels, const Tensor& uv, const std::optional<Tensor>& uv_da,
                                            const Tensor& grad, int64_t height, int64_t width, int64_t levels,
                                            int64_t filter, int64_t boundary, bool deterministic) {
  const DeviceGuard guard(texels.get_device_index());
  const cudaStream_t stream = current_stream(texels);
  const Sampler sampler{int(height), int(width), int(levels), Filter(filter), Boundary(boundary)};
  const Tensor grad_texels = torch::stable::new_zeros(texels, texels.sizes());
  const Tensor grad_uv = torch::stable::new_empty(uv, uv.sizes());
  const int64_t count = grad.numel(), samples = uv.numel() / 2;
  if (count == 0) return {grad_texels, torch::stable::new_zeros(uv, uv.sizes())};
  OPS_DISPATCH_TEXELS(texels, [&] {
    const Samples<texel_t> in(sampler, texels, uv, uv_da);
    accumulate<texel_t>(grad_texels, deterministic, 8 * samples, stream, [&](auto sum) {
      texels_backward_kernel<<<blocks_for(count), kThreads, 0, stream>>>(in, count, data<texel_t>(grad), sum);
    });
    uv_backward_kernel<<<blocks_for(samples), kThreads, 0, stream>>>(
        in, samples, data<texel_t>(grad), mutable_data<typename CoordinateOf<texel_t>::type>(grad_uv));
  });
  check_launch("texture_backward");
  return {grad_texels, grad_uv};
}

}  // namespace
}  // namespace ops

STABLE_TORCH_LIBRARY_IMPL(cuda_ext, CUDA, m) {
  m.impl("texture", TORCH_BOX(&ops::texture));
  m.impl("texture_backward", TORCH_BOX(&ops::texture_backward));
}
