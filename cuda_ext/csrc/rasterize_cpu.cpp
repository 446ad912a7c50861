// rasterize() on the CPU: faces are set up once, then every band of rows is drawn by one thread into a band-sized depth
// buffer, and its pixels are resolved to barycentrics and depth while they are in cache.
#include "visibility_cpu.h"

namespace ops {
namespace {

template <typename scalar_t>
void rasterize_image(const Tensor& clip_positions, const FaceList& faces, int64_t batch, int height, int width,
                     const RasterOutput<scalar_t>& out) {
  const scalar_t* positions = data<scalar_t>(clip_positions) + batch * clip_positions.size(1) * 4;
  const MeshSetup mesh(positions, faces, batch, height, width);
  for_each_task(mesh.band_count(), [&](int64_t band) {
    const BandBuffer buffer = mesh.draw_band(band);
    for (int row = buffer.row_begin; row < buffer.row_end; ++row)
      resolve_row(mesh.forms(), buffer.ids(row), row, width, out.at((batch * height + row) * int64_t(width)));
  });
}

std::tuple<Tensor, Tensor, Tensor, Tensor> rasterize(const Tensor& clip_positions, const Tensor& faces, int64_t height,
                                                     int64_t width, bool derivatives, bool /*deterministic*/) {
  require_mesh(clip_positions, faces);
  const int64_t batch_size = clip_positions.size(0);
  const Tensor face_id = torch::stable::new_empty(faces, {batch_size, height, width});
  const Tensor barycentrics = torch::stable::new_empty(clip_positions, {batch_size, height, width, 2});
  const Tensor depth = torch::stable::new_empty(clip_positions, {batch_size, height, width});
  const Tensor slopes =
      derivatives ? torch::stable::new_empty(clip_positions, {batch_size, height, width, 4})
                  : torch::stable::new_empty(clip_positions, {0});
  const FaceList list(faces);
  OPS_DISPATCH_FLOATING(clip_positions, [&] {
    const RasterOutput<scalar_t> out{mutable_data<int32_t>(face_id), mutable_data<scalar_t>(barycentrics),
                                     mutable_data<scalar_t>(depth),
                                     derivatives ? mutable_data<scalar_t>(slopes) : nullptr};
    for (int64_t batch = 0; batch < batch_size; ++batch)
      rasterize_image<scalar_t>(clip_positions, list, batch, int(height), int(width), out);
  });
  return {barycentrics, depth, face_id, slopes};
}

// Sums, per face, what position_gradient() and the depth need, over its pixels in raster order; a face belongs to one
// task, so the order of the sum is fixed. Then faces are added to their vertices in face order.
template <typename scalar_t>
void rasterize_backward_image(const Tensor& clip_positions, const FaceList& faces, int64_t batch, int height, int width,
                              const int32_t* face_id, const scalar_t* barycentrics, const scalar_t* grad_barycentrics,
                              const scalar_t* grad_depth, scalar_t* grad_positions) {
  const scalar_t* positions = data<scalar_t>(clip_positions) + batch * clip_positions.size(1) * 4;
  const int64_t first = batch * height * int64_t(width);
  std::vector<FaceMoments> moments(faces.count);
  for_each_run(face_id + first, height, width, [&](int64_t begin, int64_t end, int32_t face) {
    FaceMoments sums;  // of the run, in registers
    double z[3], w[3];
    for (int k = 0; k < 3; ++k) {
      const scalar_t* corner = positions + 4 * int64_t(faces.of(batch, face)[k]);
      z[k] = corner[2];
      w[k] = corner[3];
    }
    for (int64_t pixel = first + begin; pixel < first + end; ++pixel) {
      const double u = barycentrics[2 * pixel], v = barycentrics[2 * pixel + 1], b[3] = {u, v, 1. - u - v};
      double g[3] = {double(grad_barycentrics[2 * pixel]), double(grad_barycentrics[2 * pixel + 1]), 0.};
      if (grad_depth) sums.add_depth(b, grad_depth[pixel], z, w, g);
      sums.add(b, g);
    }
    moments[face].add(sums);
  });
  scatter_moments(moments, positions, faces, batch, height, width, grad_positions);
}

Tensor rasterize_backward(const Tensor& clip_positions, const Tensor& faces, const Tensor& face_id,
                          const Tensor& barycentrics, const Tensor& grad_barycentrics,
                          const std::optional<Tensor>& grad_depth, bool /*deterministic*/) {
  const Tensor grad_positions = torch::stable::new_zeros(clip_positions, clip_positions.sizes());
  const int height = int(face_id.size(1)), width = int(face_id.size(2));
  const FaceList list(faces);
  OPS_DISPATCH_FLOATING(clip_positions, [&] {
    for (int64_t batch = 0; batch < clip_positions.size(0); ++batch)
      rasterize_backward_image<scalar_t>(clip_positions, list, batch, height, width, data<int32_t>(face_id),
                                         data<scalar_t>(barycentrics), data<scalar_t>(grad_barycentrics),
                                         grad_depth ? data<scalar_t>(*grad_depth) : nullptr,
                                         mutable_data<scalar_t>(grad_positions) + batch * clip_positions.size(1) * 4);
  });
  return grad_positions;
}

}  // namespace
}  // namespace ops

STABLE_TORCH_LIBRARY_IMPL(cuda_ext, CPU, m) {
  m.impl("rasterize", TORCH_BOX(&ops::rasterize));
  m.impl("rasterize_backward", TORCH_BOX(&ops::rasterize_backward));
}
