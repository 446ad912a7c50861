// interpolate() on the CPU.
#include "visibility_cpu.h"

namespace ops {
namespace {

constexpr int64_t kTaskPixels = 4096;

struct AttributeShape {
  int64_t channels, batch_stride;

  explicit AttributeShape(const Tensor& attributes)
      : channels(attributes.size(2)), batch_stride(attributes.size(0) > 1 ? attributes.size(1) * channels : 0) {}
};

Tensor interpolate(const Tensor& attributes, const Tensor& face_id, const Tensor& barycentrics, const Tensor& faces,
                   bool /*deterministic*/) {
  require_mesh(attributes, faces);
  require_faces(face_id, faces);
  const AttributeShape shape(attributes);
  const int64_t channels = shape.channels, image = face_id.size(1) * face_id.size(2), pixels = face_id.numel();
  const Tensor out =
      torch::stable::new_empty(attributes, {face_id.size(0), face_id.size(1), face_id.size(2), channels});
  const FaceList list(faces);
  const int32_t* ids = data<int32_t>(face_id);
  OPS_DISPATCH_FLOATING(attributes, [&] {
    const scalar_t* weights = data<scalar_t>(barycentrics);
    for_each_task((pixels + kTaskPixels - 1) / kTaskPixels, [&](int64_t task) {
      for (int64_t pixel = task * kTaskPixels; pixel < std::min(pixels, (task + 1) * kTaskPixels); ++pixel) {
        scalar_t* target = mutable_data<scalar_t>(out) + pixel * channels;
        if (ids[pixel] < 0) {
          std::fill_n(target, channels, scalar_t(0));
          continue;
        }
        const int64_t batch = pixel / image;
        const int32_t* vertex = list.of(batch, ids[pixel]);
        const scalar_t* values = data<scalar_t>(attributes) + batch * shape.batch_stride;
        const scalar_t u = weights[2 * pixel], v = weights[2 * pixel + 1], w = 1 - u - v;
        const scalar_t *p = values + vertex[0] * channels, *q = values + vertex[1] * channels,
                       *r = values + vertex[2] * channels;
        for (int64_t c = 0; c < channels; ++c) target[c] = u * p[c] + v * q[c] + w * r[c];
      }
    });
  });
  return out;
}

template <typename scalar_t>
void interpolate_backward_image(const Tensor& attributes, const AttributeShape& shape, const FaceList& faces,
                                int64_t batch, int height, int width, const int32_t* ids, const scalar_t* weights,
                                const scalar_t* grad, scalar_t* grad_attributes, scalar_t* grad_barycentrics) {
  const int64_t channels = shape.channels;
  const scalar_t* values = data<scalar_t>(attributes) + batch * shape.batch_stride;
  std::vector<double> sums(size_t(faces.count) * 3 * channels);
  for_each_run(ids, height, width, [&](int64_t begin, int64_t end, int32_t face) {
    const int32_t* vertex = faces.of(batch, face);
    const scalar_t *p = values + vertex[0] * channels, *q = values + vertex[1] * channels,
                   *r = values + vertex[2] * channels;
    double* sum = sums.data() + face * 3 * channels;
    for (int64_t i = begin; i < end; ++i) {
      const scalar_t u = weights[2 * i], v = weights[2 * i + 1], w = 1 - u - v;
      double grad_u = 0., grad_v = 0.;
      for (int64_t c = 0; c < channels; ++c) {
        const scalar_t g = grad[i * channels + c];
        sum[c] += double(u * g);
        sum[channels + c] += double(v * g);
        sum[2 * channels + c] += double(w * g);
        grad_u += double(g * (p[c] - r[c]));
        grad_v += double(g * (q[c] - r[c]));
      }
      grad_barycentrics[2 * i] = scalar_t(grad_u);
      grad_barycentrics[2 * i + 1] = scalar_t(grad_v);
    }
  });
  for (int64_t face = 0; face < faces.count; ++face)
    for (int k = 0; k < 3; ++k) {
      scalar_t* target = grad_attributes + batch * shape.batch_stride + faces.of(batch, face)[k] * channels;
      for (int64_t c = 0; c < channels; ++c) target[c] += scalar_t(sums[(face * 3 + k) * channels + c]);
    }
}

std::tuple<Tensor, Tensor> interpolate_backward(const Tensor& attributes, const Tensor& face_id,
                                                const Tensor& barycentrics, const Tensor& faces, const Tensor& grad,
                                                bool /*deterministic*/) {
  const AttributeShape shape(attributes);
  const int64_t image = face_id.size(1) * face_id.size(2);
  const Tensor grad_attributes = torch::stable::new_zeros(attributes, attributes.sizes());
  const Tensor grad_barycentrics = torch::stable::new_zeros(barycentrics, barycentrics.sizes());
  const FaceList list(faces);
  OPS_DISPATCH_FLOATING(attributes, [&] {
    for (int64_t batch = 0; batch < face_id.size(0); ++batch) {
      const int64_t first = batch * image;
      interpolate_backward_image<scalar_t>(
          attributes, shape, list, batch, int(face_id.size(1)), int(face_id.size(2)), data<int32_t>(face_id) + first,
          data<scalar_t>(barycentrics) + 2 * first, data<scalar_t>(grad) + first * shape.channels,
          mutable_data<scalar_t>(grad_attributes), mutable_data<scalar_t>(grad_barycentrics) + 2 * first);
    }
  });
  return {grad_attributes, grad_barycentrics};
}

}  // namespace
}  // namespace ops

STABLE_TORCH_LIBRARY_IMPL(cuda_ext, CPU, m) {
  m.impl("interpolate", TORCH_BOX(&ops::interpolate));
  m.impl("interpolate_backward", TORCH_BOX(&ops::interpolate_backward));
}
