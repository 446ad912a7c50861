// interpolate() on CUDA.
#include "cuda.cuh"

namespace ops {
namespace {

template <typename scalar_t>
struct Attributes {
  const scalar_t* data;
  int64_t vertex_count, channels, batch_stride;

  explicit Attributes(const Tensor& attributes)
      : data(ops::data<scalar_t>(attributes)),
        vertex_count(attributes.size(1)),
        channels(attributes.size(2)),
        batch_stride(attributes.size(0) > 1 ? vertex_count * channels : 0) {}

  __device__ int64_t index(int64_t batch, int32_t vertex) const { return batch * batch_stride + vertex * channels; }
};

// One thread per value.
template <typename scalar_t>
__global__ void interpolate_kernel(Attributes<scalar_t> attributes, FaceList faces, int64_t count, int64_t pixels,
                                   const int32_t* face_id, const scalar_t* barycentrics, scalar_t* out) {
  OPS_FOR_EACH(i, count) {
    const int64_t at = i / attributes.channels, c = i % attributes.channels, batch = at / pixels;
    if (face_id[at] < 0) {
      out[i] = 0;
      continue;
    }
    const int32_t* vertex = faces.of(batch, face_id[at]);
    const scalar_t u = barycentrics[2 * at], v = barycentrics[2 * at + 1], w = 1 - u - v;
    const scalar_t* values = attributes.data + c;
    out[i] = u * values[attributes.index(batch, vertex[0])] + v * values[attributes.index(batch, vertex[1])] +
             w * values[attributes.index(batch, vertex[2])];
  }
}

// One thread per value, for the attributes.
template <typename scalar_t, typename Sum>
__global__ void attributes_backward_kernel(Attributes<scalar_t> attributes, FaceList faces, int64_t count,
                                           int64_t pixels, const int32_t* face_id, const scalar_t* barycentrics,
                                           const scalar_t* grad, Sum sum) {
  OPS_FOR_EACH(i, count) {
    const int64_t at = i / attributes.channels, c = i % attributes.channels, batch = at / pixels;
    if (face_id[at] < 0) continue;
    const int32_t* vertex = faces.of(batch, face_id[at]);
    const scalar_t u = barycentrics[2 * at], v = barycentrics[2 * at + 1], b[3] = {u, v, 1 - u - v};
    for (int k = 0; k < 3; ++k) sum.add(attributes.index(batch, vertex[k]) + c, double(b[k] * grad[i]));
  }
}

// One thread per pixel, for the barycentrics.
template <typename scalar_t>
__global__ void barycentrics_backward_kernel(Attributes<scalar_t> attributes, FaceList faces, int64_t count,
                                             int64_t pixels, const int32_t* face_id, const scalar_t* grad,
                                             scalar_t* grad_barycentrics) {
  OPS_FOR_EACH(at, count) {
    double grad_u = 0., grad_v = 0.;
    if (face_id[at] >= 0) {
      const int64_t batch = at / pixels;
      const int32_t* vertex = faces.of(batch, face_id[at]);
      const scalar_t *p = attributes.data + attributes.index(batch, vertex[0]),
                     *q = attributes.data + attributes.index(batch, vertex[1]),
                     *r = attributes.data + attributes.index(batch, vertex[2]);
      for (int64_t c = 0; c < attributes.channels; ++c) {
        const scalar_t g = grad[at * attributes.channels + c];
        grad_u += double(g * (p[c] - r[c]));
        grad_v += double(g * (q[c] - r[c]));
      }
    }
    grad_barycentrics[2 * at] = scalar_t(grad_u);
    grad_barycentrics[2 * at + 1] = scalar_t(grad_v);
  }
}

Tensor interpolate(const Tensor& attributes, const Tensor& face_id, const Tensor& barycentrics, const Tensor& faces,
                   bool /*deterministic*/) {
  const DeviceGuard guard(attributes.get_device_index());
  const cudaStream_t stream = current_stream(attributes);
  const int64_t count = face_id.numel() * attributes.size(2);
  const Tensor out =
      torch::stable::new_empty(attributes, {face_id.size(0), face_id.size(1), face_id.size(2), attributes.size(2)});
  if (count == 0) return out;
  OPS_DISPATCH_FLOATING(attributes, [&] {
    interpolate_kernel<<<blocks_for(count), kThreads, 0, stream>>>(
        Attributes<scalar_t>(attributes), FaceList(faces), count, face_id.size(1) * face_id.size(2),
        data<int32_t>(face_id), data<scalar_t>(barycentrics), mutable_data<scalar_t>(out));
  });
  check_launch("interpolate");
  return out;
}

std::tuple<Tensor, Tensor> interpolate_backward(const Tensor& attributes, const Tensor& face_id,
                                                const Tensor& barycentrics, const Tensor& faces, const Tensor& grad,
                                                bool deterministic) {
  const DeviceGuard guard(attributes.get_device_index());
  const cudaStream_t stream = current_stream(attributes);
  const Tensor grad_attributes = torch::stable::new_zeros(attributes, attributes.sizes());
  const Tensor grad_barycentrics = torch::stable::new_empty(barycentrics, barycentrics.sizes());
  const int64_t count = face_id.numel() * attributes.size(2), pixels = face_id.size(1) * face_id.size(2);
  OPS_DISPATCH_FLOATING(attributes, [&] {
    const Attributes<scalar_t> source(attributes);
    accumulate<scalar_t>(grad_attributes, deterministic, 3 * face_id.numel(), stream, [&](auto sum) {
      attributes_backward_kernel<<<blocks_for(count), kThreads, 0, stream>>>(
          source, FaceList(faces), count, pixels, data<int32_t>(face_id), data<scalar_t>(barycentrics),
          data<scalar_t>(grad), sum);
    });
    barycentrics_backward_kernel<<<blocks_for(face_id.numel()), kThreads, 0, stream>>>(
        source, FaceList(faces), face_id.numel(), pixels, data<int32_t>(face_id), data<scalar_t>(grad),
        mutable_data<scalar_t>(grad_barycentrics));
  });
  check_launch("interpolate_backward");
  return {grad_attributes, grad_barycentrics};
}

}  // namespace
}  // namespace ops

STABLE_TORCH_LIBRARY_IMPL(cuda_ext, CUDA, m) {
  m.impl("interpolate", TORCH_BOX(&ops::interpolate));
  m.impl("interpolate_backward", TORCH_BOX(&ops::interpolate_backward));
}
