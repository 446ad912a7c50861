// shade() on CUDA: the raster, then one kernel from barycentrics to features without uv in between.
#include "texture_cuda.cuh"

namespace ops {
namespace {

template <typename texel_t>
struct ShadeInputs {
  using T = typename CoordinateOf<texel_t>::type;
  Positions<T> positions;
  FaceList faces;
  const T* vertex_uv;
  const uint8_t* region;
  const texel_t* texels;
  Sampler sampler;
  const int32_t* face_id;
  const T* barycentrics;
  int64_t channels, uv_stride, texel_stride, image;

  ShadeInputs(const Tensor& clip_positions, const Tensor& face_list, const Tensor& uv, const Tensor& face_region,
              const Tensor& feature_texels, const Sampler& map, const Tensor& id, const Tensor& weights)
      : positions{data<T>(clip_positions), clip_positions.size(1), int(id.size(1)), int(id.size(2))},
        faces(face_list),
        vertex_uv(data<T>(uv)),
        region(data<uint8_t>(face_region)),
        texels(data<texel_t>(feature_texels)),
        sampler(map),
        face_id(data<int32_t>(id)),
        barycentrics(data<T>(weights)),
        channels(feature_texels.size(2)),
        uv_stride(uv.size(0) > 1 ? uv.size(1) * 2 : 0),
        texel_stride(feature_texels.size(0) > 1 ? feature_texels.size(1) * channels : 0),
        image(id.size(1) * id.size(2)) {}

  __device__ uint8_t label(int64_t pixel) const { return face_id[pixel] < 0 ? 0 : region[face_id[pixel]]; }
  __device__ int64_t batch(int64_t pixel) const { return pixel / image; }
  __device__ const int32_t* vertices(int64_t pixel) const { return faces.of(batch(pixel), face_id[pixel]); }
  __device__ int64_t uv_index(int64_t batch_index, int32_t vertex) const {
    return batch_index * uv_stride + 2 * int64_t(vertex);
  }
  __device__ int64_t first_texel(int64_t pixel) const { return batch(pixel) * texel_stride; }

  // Taps of one covered pixel.
  __device__ TapList<T> taps(int64_t pixel) const {
    const int32_t* vertex = vertices(pixel);
    const T b0 = barycentrics[2 * pixel], b1 = barycentrics[2 * pixel + 1], b2 = 1 - b0 - b1;
    const T* uv = vertex_uv + batch(pixel) * uv_stride;
    const T *p = uv + 2 * int64_t(vertex[0]), *q = uv + 2 * int64_t(vertex[1]), *r = uv + 2 * int64_t(vertex[2]);
    T footprint[4];
    if (sampler.filter == kTrilinear) {
      Corner corners[3];
      FaceForm form;
      double slopes[4];
      positions.corners(batch(pixel), vertex, corners);
      make_form(corners, form);
      const int64_t at = pixel % image;
      barycentric_derivatives_at(form, at % positions.width + 0.5, at / positions.width + 0.5, b0, b1, slopes);
      for (int axis = 0; axis < 2; ++axis)
        for (int i = 0; i < 2; ++i)
          footprint[2 * i + axis] = T(slopes[axis]) * (p[i] - r[i]) + T(slopes[2 + axis]) * (q[i] - r[i]);
    }
    return list_taps(sampler, b0 * p[0] + b1 * q[0] + b2 * r[0], b0 * p[1] + b1 * q[1] + b2 * r[1], footprint);
  }
};

// One thread per value.
template <typename texel_t>
__global__ void features_kernel(ShadeInputs<texel_t> in, int64_t count, texel_t* features, uint8_t* region) {
  using T = typename CoordinateOf<texel_t>::type;
  OPS_FOR_EACH(i, count) {
    const int64_t pixel = i / in.channels, c = i % in.channels;
    const uint8_t label = in.label(pixel);
    if (c == 0) region[pixel] = label;
    store(features[i], label ? fetch(in.taps(pixel), in.texels + in.first_texel(pixel), in.channels, c) : T(0));
  }
}

// One thread per value, for the texels.
template <typename texel_t, typename Sum>
__global__ void shade_texels_backward_kernel(ShadeInputs<texel_t> in, int64_t count, const texel_t* grad, Sum sum) {
  OPS_FOR_EACH(i, count) {
    const int64_t pixel = i / in.channels, c = i % in.channels;
    if (in.label(pixel)) scatter(in.taps(pixel), load(grad[i]), in.channels, c, in.first_texel(pixel), sum);
  }
}

// One thread per pixel: gradient of the features to its uv, 0 where nothing is drawn.
template <typename texel_t>
__global__ void shade_uv_kernel(ShadeInputs<texel_t> in, int64_t count, const texel_t* grad,
                                typename CoordinateOf<texel_t>::type* grad_uv) {
  OPS_FOR_EACH(pixel, count) {
    double slopes[2] = {0., 0.};
    if (in.label(pixel))
      fetch_backward_uv(in.taps(pixel), in.texels + in.first_texel(pixel), grad + pixel * in.channels, in.channels,
                        slopes);
    for (int axis = 0; axis < 2; ++axis)
      grad_uv[2 * pixel + axis] = static_cast<typename CoordinateOf<texel_t>::type>(slopes[axis]);
  }
}

// One thread per pixel, for the vertices' uv.
template <typename texel_t, typename Sum>
__global__ void vertex_uv_backward_kernel(ShadeInputs<texel_t> in, int64_t count,
                                          const typename CoordinateOf<texel_t>::type* grad_uv, Sum sum) {
  OPS_FOR_EACH(pixel, count) {
    if (!in.label(pixel)) continue;
    const int32_t* vertex = in.vertices(pixel);
    const double u = in.barycentrics[2 * pixel], v = in.barycentrics[2 * pixel + 1], b[3] = {u, v, 1. - u - v};
    for (int k = 0; k < 3; ++k)
      for (int axis = 0; axis < 2; ++axis)
        sum.add(in.uv_index(in.batch(pixel), vertex[k]) + axis, b[k] * double(grad_uv[2 * pixel + axis]));
  }
}

// One thread per pixel, for the positions; each gradient of an output may be null.
template <typename texel_t, typename Sum, typename T>
__global__ void shade_positions_backward_kernel(ShadeInputs<texel_t> in, int64_t count, const T* grad_uv,
                                                const T* grad_barycentrics, const T* grad_depth, Sum sum) {
  OPS_FOR_EACH(pixel, count) {
    if (in.face_id[pixel] < 0) continue;
    const int64_t batch = in.batch(pixel);
    const int32_t* vertex = in.vertices(pixel);
    const double u = in.barycentrics[2 * pixel], v = in.barycentrics[2 * pixel + 1], b[3] = {u, v, 1. - u - v};
    double g[3] = {0., 0., 0.};
    if (grad_barycentrics)
      for (int k = 0; k < 2; ++k) g[k] = grad_barycentrics[2 * pixel + k];
    if (grad_uv)
      for (int axis = 0; axis < 2; ++axis) {
        const double last = in.vertex_uv[in.uv_index(batch, vertex[2]) + axis], slope = grad_uv[2 * pixel + axis];
        for (int k = 0; k < 2; ++k) g[k] += slope * (in.vertex_uv[in.uv_index(batch, vertex[k]) + axis] - last);
      }
    add_position_gradient(in.positions, batch, vertex, b, g, grad_depth ? double(grad_depth[pixel]) : 0., sum);
  }
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> shade(const Tensor& clip_positions, const Tensor& faces,
                                                         const Tensor& vertex_uv, const Tensor& face_region,
                                                         const Tensor& texels, int64_t height, int64_t width,
                                                         int64_t map_height, int64_t map_width, int64_t levels,
                                                         int64_t filter, int64_t boundary, bool /*deterministic*/) {
  const DeviceGuard guard(clip_positions.get_device_index());
  const cudaStream_t stream = current_stream(clip_positions);
  const int64_t batch_size = clip_positions.size(0);
  const Sampler sampler{int(map_height), int(map_width), int(levels), Filter(filter), Boundary(boundary)};
  const Tensor features = torch::stable::new_empty(texels, {batch_size, height, width, texels.size(2)});
  const Tensor region = torch::stable::new_empty(face_region, {batch_size, height, width});
  const Tensor face_id = torch::stable::new_empty(faces, {batch_size, height, width});
  const Tensor barycentrics = torch::stable::new_empty(clip_positions, {batch_size, height, width, 2});
  const Tensor depth = torch::stable::new_empty(clip_positions, {batch_size, height, width});
  const int64_t count = features.numel();
  if (count == 0) return {features, region, face_id, barycentrics, depth};
  rasterize_into(clip_positions, faces, face_id, barycentrics, depth, nullptr);
  OPS_DISPATCH_TEXELS(texels, [&] {
    features_kernel<<<blocks_for(count), kThreads, 0, stream>>>(
        ShadeInputs<texel_t>(clip_positions, faces, vertex_uv, face_region, texels, sampler, face_id, barycentrics),
        count, mutable_data<texel_t>(features), mutable_data<uint8_t>(region));
  });
  check_launch("shade");
  return {features, region, face_id, barycentrics, depth};
}

std::tuple<Tensor, Tensor, Tensor> shade_backward(
    const Tensor& clip_positions, const Tensor& faces, const Tensor& vertex_uv, const Tensor& face_region,
    const Tensor& texels, const Tensor& face_id, const Tensor& barycentrics, const std::optional<Tensor>& grad_features,
    const std::optional<Tensor>& grad_barycentrics, const std::optional<Tensor>& grad_depth, int64_t map_height,
    int64_t map_width, int64_t levels, int64_t filter, int64_t boundary, bool need_positions, bool need_uv,
    bool need_texels, bool deterministic) {
  const DeviceGuard guard(clip_positions.get_device_index());
  const cudaStream_t stream = current_stream(clip_positions);
  const Sampler sampler{int(map_height), int(map_width), int(levels), Filter(filter), Boundary(boundary)};
  const auto gradient_of = [](const Tensor& input, bool needed) {
    return needed ? torch::stable::new_zeros(input, input.sizes()) : torch::stable::new_empty(input, {0});
  };
  const Tensor grad_positions = gradient_of(clip_positions, need_positions), grad_uv = gradient_of(vertex_uv, need_uv),
               grad_texels = gradient_of(texels, need_texels);
  const int64_t pixels = face_id.numel();
  if (pixels == 0) return {grad_positions, grad_uv, grad_texels};
  OPS_DISPATCH_TEXELS(texels, [&] {
    using T = typename CoordinateOf<texel_t>::type;
    const ShadeInputs<texel_t> in(clip_positions, faces, vertex_uv, face_region, texels, sampler, face_id, barycentrics);
    const texel_t* grad = data_or_null<texel_t>(grad_features);
    if (grad && need_texels) {
      const int64_t count = grad_features->numel();
      accumulate<texel_t>(grad_texels, deterministic, 8 * pixels, stream, [&](auto sum) {
        shade_texels_backward_kernel<<<blocks_for(count), kThreads, 0, stream>>>(in, count, grad, sum);
      });
    }
    if (!need_positions && !need_uv) return;
    const Tensor pixel_uv = torch::stable::new_empty(barycentrics, {grad ? 2 * pixels : 0});
    T* slopes = grad ? mutable_data<T>(pixel_uv) : nullptr;
    if (grad) shade_uv_kernel<<<blocks_for(pixels), kThreads, 0, stream>>>(in, pixels, grad, slopes);
    if (need_positions)
      accumulate<T>(grad_positions, deterministic, 3 * pixels, stream, [&](auto sum) {
        shade_positions_backward_kernel<<<blocks_for(pixels), kThreads, 0, stream>>>(
            in, pixels, static_cast<const T*>(slopes), data_or_null<T>(grad_barycentrics), data_or_null<T>(grad_depth),
            sum);
      });
    if (need_uv && grad)
      accumulate<T>(grad_uv, deterministic, 3 * pixels, stream, [&](auto sum) {
        vertex_uv_backward_kernel<<<blocks_for(pixels), kThreads, 0, stream>>>(in, pixels, static_cast<const T*>(slopes),
                                                                              sum);
      });
  });
  check_launch("shade_backward");
  return {grad_positions, grad_uv, grad_texels};
}

}  // namespace
}  // namespace ops

STABLE_TORCH_LIBRARY_IMPL(cuda_ext, CUDA, m) {
  m.impl("shade", TORCH_BOX(&ops::shade));
  m.impl("shade_backward", TORCH_BOX(&ops::shade_backward));
}
