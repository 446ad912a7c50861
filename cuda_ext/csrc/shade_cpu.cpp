// shade() on the CPU: rasterize, interpolate uv and sample the feature map band by band, nothing written in between.
#include "texture_sampling_cpu.h"
#include "visibility_cpu.h"

namespace ops {
namespace {

template <typename scalar_t>
struct ShadeInputs {
  const scalar_t *positions, *uv, *texels;  // of one image
  const uint8_t* region;
  FaceList faces;
  Sampler sampler;
  int64_t batch, channels;
  int height, width;

  ShadeInputs(const Tensor& clip_positions, const Tensor& face_list, const Tensor& vertex_uv,
              const Tensor& face_region, const Tensor& feature_texels, const Sampler& map, int64_t index, int height_px,
              int width_px)
      : positions(data<scalar_t>(clip_positions) + index * clip_positions.size(1) * 4),
        uv(data<scalar_t>(vertex_uv) + (vertex_uv.size(0) > 1 ? index * vertex_uv.size(1) * 2 : 0)),
        texels(data<scalar_t>(feature_texels) +
               (feature_texels.size(0) > 1 ? index * feature_texels.size(1) * feature_texels.size(2) : 0)),
        region(data<uint8_t>(face_region)),
        faces(face_list),
        sampler(map),
        batch(index),
        channels(feature_texels.size(2)),
        height(height_px),
        width(width_px) {}

  void form(int32_t face, FaceForm& out) const {
    const int32_t* vertex = faces.of(batch, face);
    Corner corners[3];
    for (int k = 0; k < 3; ++k) corners[k] = corner_from_clip(positions + 4 * int64_t(vertex[k]), height, width);
    make_form(corners, out);
  }

  // Labels and uv of a row; uv is left as it is where the label is 0.
  void label_row(const int32_t* ids, const scalar_t* weights, uint8_t* labels, scalar_t* at) const {
    for (int begin = 0, end; begin < width; begin = end) {
      const int32_t face = ids[begin];
      for (end = begin + 1; end < width && ids[end] == face;) ++end;
      const uint8_t label = face < 0 ? 0 : region[face];
      std::fill(labels + begin, labels + end, label);
      if (label == 0) continue;
      const int32_t* vertex = faces.of(batch, face);
      const scalar_t *p = uv + 2 * int64_t(vertex[0]), *q = uv + 2 * int64_t(vertex[1]), *r = uv + 2 * int64_t(vertex[2]);
      for (int i = begin; i < end; ++i) {
        const scalar_t b0 = weights[2 * i], b1 = weights[2 * i + 1], b2 = 1 - b0 - b1;
        at[2 * i] = b0 * p[0] + b1 * q[0] + b2 * r[0];
        at[2 * i + 1] = b0 * p[1] + b1 * q[1] + b2 * r[1];
      }
    }
  }

  // Taps of one pixel from its barycentrics; `face` only for the trilinear footprint.
  TapList<scalar_t> taps(const int32_t* vertex, scalar_t b0, scalar_t b1, const FaceForm* face, int column,
                         int row) const {
    const scalar_t b2 = 1 - b0 - b1;
    const scalar_t *p = uv + 2 * int64_t(vertex[0]), *q = uv + 2 * int64_t(vertex[1]), *r = uv + 2 * int64_t(vertex[2]);
    scalar_t footprint[4];
    if (face) {
      double slopes[4];
      barycentric_derivatives_at(*face, column + 0.5, row + 0.5, b0, b1, slopes);
      for (int axis = 0; axis < 2; ++axis)
        for (int i = 0; i < 2; ++i)
          footprint[2 * i + axis] =
              scalar_t(slopes[axis]) * (p[i] - r[i]) + scalar_t(slopes[2 + axis]) * (q[i] - r[i]);
    }
    return list_taps(sampler, b0 * p[0] + b1 * q[0] + b2 * r[0], b0 * p[1] + b1 * q[1] + b2 * r[1], footprint);
  }
};

// Samples one row, of which labels and uv are known.
template <typename scalar_t>
void fetch_row(const ShadeInputs<scalar_t>& in, const FaceForm* forms, int row, const int32_t* ids,
               const scalar_t* weights, const uint8_t* labels, const scalar_t* at, TapRow<scalar_t>& taps,
               scalar_t* features) {
  if (has_fast_path(in.sampler)) {
    make_taps(in.sampler, at, labels, 0, in.width, taps);
    fetch_taps(taps, 0, in.width, in.texels, in.channels, features);
    return;
  }
  for (int column = 0; column < in.width; ++column, features += in.channels) {
    if (labels[column] == 0) {
      std::fill_n(features, in.channels, scalar_t(0));
      continue;
    }
    const int32_t face = ids[column];
    fetch(in.taps(in.faces.of(in.batch, face), weights[2 * column], weights[2 * column + 1],
                  in.sampler.filter == kTrilinear ? &forms[face] : nullptr, column, row),
          in.texels, in.channels, features);
  }
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> shade(const Tensor& clip_positions, const Tensor& faces,
                                                         const Tensor& vertex_uv, const Tensor& face_region,
                                                         const Tensor& texels, int64_t height, int64_t width,
                                                         int64_t map_height, int64_t map_width, int64_t levels,
                                                         int64_t filter, int64_t boundary, bool /*deterministic*/) {
  require_mesh(clip_positions, faces);
  const int64_t batch_size = clip_positions.size(0), channels = texels.size(2);
  const Sampler sampler{int(map_height), int(map_width), int(levels), Filter(filter), Boundary(boundary)};
  const Tensor features = torch::stable::new_empty(texels, {batch_size, height, width, channels});
  const Tensor region = torch::stable::new_empty(face_region, {batch_size, height, width});
  const Tensor face_id = torch::stable::new_empty(faces, {batch_size, height, width});
  const Tensor barycentrics = torch::stable::new_empty(clip_positions, {batch_size, height, width, 2});
  const Tensor depth = torch::stable::new_empty(clip_positions, {batch_size, height, width});
  OPS_DISPATCH_FLOATING(clip_positions, [&] {
    const RasterOutput<scalar_t> raster{mutable_data<int32_t>(face_id), mutable_data<scalar_t>(barycentrics),
                                        mutable_data<scalar_t>(depth), nullptr};
    for (int64_t batch = 0; batch < batch_size; ++batch) {
      const ShadeInputs<scalar_t> in(clip_positions, faces, vertex_uv, face_region, texels, sampler, batch, int(height),
                                     int(width));
      const MeshSetup mesh(in.positions, in.faces, batch, int(height), int(width));
      for_each_task(mesh.band_count(), [&](int64_t band) {
        const BandBuffer buffer = mesh.draw_band(band);
        TapRow<scalar_t> taps(width);
        const std::unique_ptr<scalar_t[]> at(new scalar_t[2 * width]());
        for (int row = buffer.row_begin; row < buffer.row_end; ++row) {
          const int64_t first = (batch * height + row) * width;
          const RasterOutput<scalar_t> out = raster.at(first);
          uint8_t* labels = mutable_data<uint8_t>(region) + first;
          resolve_row(mesh.forms(), buffer.ids(row), row, int(width), out);
          in.label_row(out.face_id, out.barycentrics, labels, at.get());
          fetch_row(in, mesh.forms(), row, out.face_id, out.barycentrics, labels, at.get(), taps,
                    mutable_data<scalar_t>(features) + first * channels);
        }
      });
    }
  });
  return {features, region, face_id, barycentrics, depth};
}

template <typename scalar_t>
struct ShadeGradients {
  const scalar_t *features, *barycentrics, *depth;  // of the outputs, of one image, may be null
  scalar_t *positions, *uv, *texels;                // of the inputs, may be null
};

// Gradients of features to the map, and to the uv of every pixel where `grad_uv` [H, W, 2] is given.
template <typename scalar_t>
void features_backward(const ShadeInputs<scalar_t>& in, const int32_t* ids, const scalar_t* weights,
                       const scalar_t* grad, scalar_t* grad_texels, scalar_t* grad_uv) {
  const bool fast = has_fast_path(in.sampler);
  const int64_t pixels = int64_t(in.height) * in.width;
  TapRow<scalar_t> taps(fast ? pixels : 0);
  std::vector<TapList<scalar_t>> lists(fast ? 0 : pixels);
  for_each_task(in.height, [&](int64_t row) {
    const int64_t first = row * in.width;
    const std::unique_ptr<scalar_t[]> at(new scalar_t[2 * in.width]());
    const std::unique_ptr<uint8_t[]> labels(new uint8_t[in.width]);
    in.label_row(ids + first, weights + 2 * first, labels.get(), at.get());
    if (fast) {
      make_taps(in.sampler, at.get(), labels.get(), first, in.width, taps);
      if (grad_uv)
        fetch_taps_backward(in.sampler, taps, first, in.width, in.texels, grad + first * in.channels, in.channels,
                            grad_uv + 2 * first);
      return;
    }
    for (int64_t i = first; i < first + in.width; ++i) {
      if (labels[i - first] == 0) continue;
      FaceForm form;
      if (in.sampler.filter == kTrilinear) in.form(ids[i], form);
      lists[i] = in.taps(in.faces.of(in.batch, ids[i]), weights[2 * i], weights[2 * i + 1],
                         in.sampler.filter == kTrilinear ? &form : nullptr, int(i - first), int(row));
      if (grad_uv)
        fetch_backward_uv(lists[i], in.texels, grad + i * in.channels, in.channels, grad_uv + 2 * i);
    }
  });
  if (!grad_texels) return;
  scatter_texels([&](int part, int parts) {
    if (fast)
      scatter_part(taps, pixels, grad, in.channels, part, parts, grad_texels);
    else
      scatter_part(lists, grad, in.channels, part, parts, grad_texels);
  });
}

// Gradients of barycentrics, depth and of every pixel's uv to positions and vertex uv, summed per face first.
template <typename scalar_t>
void geometry_backward(const ShadeInputs<scalar_t>& in, const int32_t* ids, const scalar_t* weights,
                       const scalar_t* grad_uv, const ShadeGradients<scalar_t>& grad) {
  std::vector<FaceMoments> moments(in.faces.count);
  std::vector<double> uv_sums(grad.uv ? in.faces.count * 6 : 0);
  for_each_run(ids, in.height, in.width, [&](int64_t begin, int64_t end, int32_t face) {
    FaceMoments sums;  // of the run, in registers
    double z[3], w[3], uv[3][2], uv_sum[3][2] = {};
    for (int k = 0; k < 3; ++k) {
      const int64_t vertex = in.faces.of(in.batch, face)[k];
      z[k] = in.positions[4 * vertex + 2];
      w[k] = in.positions[4 * vertex + 3];
      for (int axis = 0; axis < 2; ++axis) uv[k][axis] = in.uv[2 * vertex + axis];
    }
    const bool sampled = grad_uv && in.region[face] > 0;
    for (int64_t i = begin; i < end; ++i) {
      const double u = weights[2 * i], v = weights[2 * i + 1], b[3] = {u, v, 1. - u - v};
      double g[3] = {0., 0., 0.};
      if (grad.barycentrics)
        for (int k = 0; k < 2; ++k) g[k] = grad.barycentrics[2 * i + k];
      if (sampled)
        for (int axis = 0; axis < 2; ++axis) {
          const double slope = grad_uv[2 * i + axis];
          for (int k = 0; k < 2; ++k) g[k] += slope * (uv[k][axis] - uv[2][axis]);
          for (int k = 0; k < 3; ++k) uv_sum[k][axis] += b[k] * slope;
        }
      if (grad.depth) sums.add_depth(b, grad.depth[i], z, w, g);
      sums.add(b, g);
    }
    moments[face].add(sums);
    if (grad.uv)
      for (int i = 0; i < 6; ++i) uv_sums[int64_t(face) * 6 + i] += uv_sum[i / 2][i % 2];
  });
  if (grad.positions)
    scatter_moments(moments, in.positions, in.faces, in.batch, in.height, in.width, grad.positions);
  if (grad.uv)
    for (int64_t face = 0; face < in.faces.count; ++face)
      for (int k = 0; k < 3; ++k)
        for (int axis = 0; axis < 2; ++axis)
          grad.uv[2 * int64_t(in.faces.of(in.batch, face)[k]) + axis] += scalar_t(uv_sums[face * 6 + 2 * k + axis]);
}

// Adds one image to the gradients.
template <typename scalar_t>
void shade_backward_image(const ShadeInputs<scalar_t>& in, const int32_t* ids, const scalar_t* weights,
                          const ShadeGradients<scalar_t>& grad) {
  const bool geometry = grad.positions || grad.uv;
  std::unique_ptr<scalar_t[]> grad_uv;
  if (grad.features) {
    if (geometry) grad_uv.reset(new scalar_t[2 * int64_t(in.height) * in.width]);
    features_backward(in, ids, weights, grad.features, grad.texels, grad_uv.get());
  }
  if (geometry) geometry_backward(in, ids, weights, grad_uv.get(), grad);
}

std::tuple<Tensor, Tensor, Tensor> shade_backward(
    const Tensor& clip_positions, const Tensor& faces, const Tensor& vertex_uv, const Tensor& face_region,
    const Tensor& texels, const Tensor& face_id, const Tensor& barycentrics, const std::optional<Tensor>& grad_features,
    const std::optional<Tensor>& grad_barycentrics, const std::optional<Tensor>& grad_depth, int64_t map_height,
    int64_t map_width, int64_t levels, int64_t filter, int64_t boundary, bool need_positions, bool need_uv,
    bool need_texels, bool /*deterministic*/) {
  const Sampler sampler{int(map_height), int(map_width), int(levels), Filter(filter), Boundary(boundary)};
  const auto gradient_of = [](const Tensor& input, bool needed) {
    return needed ? torch::stable::new_zeros(input, input.sizes()) : torch::stable::new_empty(input, {0});
  };
  const Tensor grad_positions = gradient_of(clip_positions, need_positions), grad_uv = gradient_of(vertex_uv, need_uv),
               grad_texels = gradient_of(texels, need_texels);
  const int height = int(face_id.size(1)), width = int(face_id.size(2));
  const int64_t pixels = int64_t(height) * width;
  OPS_DISPATCH_FLOATING(clip_positions, [&] {
    const auto output = [](const std::optional<Tensor>& gradient, int64_t offset) {
      return gradient ? data<scalar_t>(*gradient) + offset : nullptr;
    };
    for (int64_t batch = 0; batch < clip_positions.size(0); ++batch) {
      const ShadeInputs<scalar_t> in(clip_positions, faces, vertex_uv, face_region, texels, sampler, batch, height,
                                     width);
      const auto input = [](const Tensor& gradient, bool needed, const scalar_t* at, const Tensor& whole) {
        return needed ? mutable_data<scalar_t>(gradient) + (at - data<scalar_t>(whole)) : nullptr;
      };
      const int64_t first = batch * pixels;
      shade_backward_image<scalar_t>(
          in, data<int32_t>(face_id) + first, data<scalar_t>(barycentrics) + 2 * first,
          {output(grad_features, first * in.channels), output(grad_barycentrics, 2 * first), output(grad_depth, first),
           input(grad_positions, need_positions, in.positions, clip_positions),
           input(grad_uv, need_uv, in.uv, vertex_uv), input(grad_texels, need_texels, in.texels, texels)});
    }
  });
  return {grad_positions, grad_uv, grad_texels};
}

}  // namespace
}  // namespace ops

STABLE_TORCH_LIBRARY_IMPL(cuda_ext, CPU, m) {
  m.impl("shade", TORCH_BOX(&ops::shade));
  m.impl("shade_backward", TORCH_BOX(&ops::shade_backward));
}
