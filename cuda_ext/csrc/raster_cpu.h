// Visibility on the CPU, for rasterize() and shade(): set-up of a mesh, drawing of a band of rows, and the sums of the
// backward pass.
#pragma once

#include "cpu.h"

namespace ops {

constexpr int kBandRows = 16;
constexpr int kSetupChunk = 256;  // faces per set-up task

struct DrawnPiece {
  Piece piece;
  int32_t face;
};

struct BandBuffer {
  int row_begin = 0, row_end = 0, width = 0;
  std::vector<float> nearest;
  std::vector<int32_t> face;

  void reset(int begin, int end, int width_px) {
    row_begin = begin;
    row_end = end;
    width = width_px;
    nearest.assign(size_t(end - begin) * width, INFINITY);
    face.assign(size_t(end - begin) * width, -1);
  }
  const int32_t* ids(int row) const { return face.data() + size_t(row - row_begin) * width; }
};

// Depths are compared after rounding to float, and the lower face index wins a tie: faces are drawn in order.
template <typename edge_t>
inline void draw_span(const edge_t edge[3], const edge_t step[3], double depth, double depth_step, int count,
                      int32_t face, float* nearest, int32_t* ids) {
  const edge_t e0 = edge[0], e1 = edge[1], e2 = edge[2], s0 = step[0], s1 = step[1], s2 = step[2];
  for (int i = 0; i < count; ++i) {
    const edge_t at = edge_t(i);
    const bool inside = (e0 + s0 * at >= 0) & (e1 + s1 * at >= 0) & (e2 + s2 * at >= 0);
    const float z = float(depth + depth_step * i);
    const bool seen = inside & (z < nearest[i]);
    nearest[i] = seen ? z : nearest[i];
    ids[i] = seen ? face : ids[i];
  }
}

struct MeshSetup {
  int height = 0, width = 0;
  std::vector<FaceForm> forms;                  // one per face
  std::vector<std::vector<DrawnPiece>> chunks;  // in face order

  template <typename scalar_t>
  void build(const scalar_t* positions, const FaceList& faces, int64_t batch, int height_px, int width_px) {
    height = height_px;
    width = width_px;
    forms.resize(faces.count);
    chunks.resize((faces.count + kSetupChunk - 1) / kSetupChunk);
    for_each_task(int64_t(chunks.size()), [&](int64_t chunk) {
      const int64_t end = std::min<int64_t>(faces.count, (chunk + 1) * kSetupChunk);
      chunks[chunk].reserve(kSetupChunk);
      for (int64_t face = chunk * kSetupChunk; face < end; ++face) {
        const int32_t* vertex = faces.of(batch, face);
        Corner corners[3];
        for (int k = 0; k < 3; ++k) corners[k] = corner_from_clip(positions + 4 * int64_t(vertex[k]), height, width);
        if (!make_form(corners, forms[face])) continue;
        Piece pieces[kMaxPieces];
        const int count = make_pieces(corners, height, width, pieces);
        for (int i = 0; i < count; ++i) chunks[chunk].push_back({pieces[i], int32_t(face)});
      }
    });
  }

  int64_t band_count() const { return (height + kBandRows - 1) / kBandRows; }

  void draw_band(int64_t band, BandBuffer& buffer) const {
    buffer.reset(int(band) * kBandRows, std::min(height, int(band + 1) * kBandRows), width);
    for (const auto& chunk : chunks)
      for (const DrawnPiece& drawn : chunk) {
        const int begin = std::max(drawn.piece.row_min, buffer.row_begin);
        const int end = std::min(drawn.piece.row_max + 1, buffer.row_end);
        for (int row = begin; row < end; ++row) draw_row(drawn, row, buffer);
      }
  }

 private:
  void draw_row(const DrawnPiece& drawn, int row, BandBuffer& buffer) const {
    const Piece& piece = drawn.piece;
    const double* plane = forms[drawn.face].depth;
    const int column = piece.column_min, count = piece.column_max - column + 1;
    const double depth = plane[0] * (column + 0.5) + plane[1] * (row + 0.5) + plane[2];
    double edge[3], step[3];  // integers below 2^53: exact
    for (int k = 0; k < 3; ++k) {
      edge[k] = double(piece.a[k] * int64_t(column) + piece.b[k] * int64_t(row) + piece.c[k]);
      step[k] = piece.a[k];
    }
    const size_t at = size_t(row - buffer.row_begin) * buffer.width + column;
    draw_span<double>(edge, step, depth, plane[0], count, drawn.face, buffer.nearest.data() + at,
                      buffer.face.data() + at);
  }
};

template <typename scalar_t>
struct RasterOutput {
  int32_t* face_id;
  scalar_t* barycentrics;
  scalar_t* depth;
  scalar_t* derivatives;  // may be null

  RasterOutput at(int64_t pixel) const {
    return {face_id + pixel, barycentrics + 2 * pixel, depth + pixel, derivatives ? derivatives + 4 * pixel : nullptr};
  }
};

template <typename scalar_t>
void resolve_row(const MeshSetup& mesh, const int32_t* ids, int row, int width, const RasterOutput<scalar_t>& out) {
  const double y = row + 0.5;
  for (int column = 0; column < width; ++column) {
    const int32_t face = ids[column];
    out.face_id[column] = face;
    double u = 0., v = 0., depth = 1., slopes[4] = {0., 0., 0., 0.};
    if (face >= 0) {
      const double x = column + 0.5;
      const FaceForm& form = mesh.forms[face];
      barycentrics_at(form, x, y, u, v);
      depth = dot_point(form.depth, x, y);
      if (out.derivatives) barycentric_derivatives_at(form, x, y, u, v, slopes);
    }
    out.barycentrics[2 * column] = scalar_t(u);
    out.barycentrics[2 * column + 1] = scalar_t(v);
    out.depth[column] = scalar_t(depth);
    if (out.derivatives)
      for (int i = 0; i < 4; ++i) out.derivatives[4 * column + i] = scalar_t(slopes[i]);
  }
}

// What the pixels of one face add up to in the backward pass.
struct FaceMoments {
  double barycentric[3][3] = {};  // b_j (g - (g . b) 1)_k, see position_gradient()
  double depth[3][2] = {};        // d depth / d (z, w) of corner j
  bool seen = false;

  template <typename scalar_t>
  void add(const double b[3], double grad_u, double grad_v, double grad_depth, const scalar_t* positions,
           const int32_t* vertex) {
    seen = true;
    double g[3] = {grad_u, grad_v, 0.};
    if (grad_depth != 0.) {
      double z = 0., w = 0.;
      for (int k = 0; k < 3; ++k) {
        z += b[k] * positions[4 * int64_t(vertex[k]) + 2];
        w += b[k] * positions[4 * int64_t(vertex[k]) + 3];
      }
      for (int k = 0; k < 3; ++k) {  // depth = sum b z / sum b w
        depth[k][0] += grad_depth * b[k] / w;
        depth[k][1] -= grad_depth * b[k] * z / (w * w);
        g[k] += grad_depth * (positions[4 * int64_t(vertex[k]) + 2] - z / w * positions[4 * int64_t(vertex[k]) + 3]) / w;
      }
    }
    const double mean = g[0] * b[0] + g[1] * b[1] + g[2] * b[2];
    for (int j = 0; j < 3; ++j)
      for (int k = 0; k < 3; ++k) barycentric[j][k] += b[j] * (g[k] - mean);
  }
};

// Calls visit(pixel, face) for every covered pixel. Faces are dealt to tasks in blocks; a task walks the pixels in order
// and visits those of its own faces, so all that is summed per face is summed in raster order.
template <typename F>
void for_each_owner(const int32_t* face_id, int64_t pixels, int64_t faces, const F& visit) {
  constexpr int64_t block = 32;
  const int64_t tasks = std::max<int64_t>(1, std::min<int64_t>(torch::stable::get_num_threads(), faces / block));
  for_each_task(tasks, [&](int64_t task) {
    for (int64_t i = 0; i < pixels; ++i)
      if (face_id[i] >= 0 && (face_id[i] / block) % tasks == task) visit(i, face_id[i]);
  });
}

template <typename scalar_t>
void scatter_moments(const std::vector<FaceMoments>& moments, const scalar_t* positions, const FaceList& faces,
                     int64_t batch, int height, int width, scalar_t* grad_positions) {
  for (int64_t face = 0; face < faces.count; ++face) {
    if (!moments[face].seen) continue;
    const int32_t* vertex = faces.of(batch, face);
    Corner corners[3];
    for (int k = 0; k < 3; ++k) corners[k] = corner_from_clip(positions + 4 * int64_t(vertex[k]), height, width);
    double gradient[3][4] = {};
    position_gradient(corners, moments[face].barycentric, height, width, gradient);
    for (int k = 0; k < 3; ++k) {
      scalar_t* target = grad_positions + 4 * int64_t(vertex[k]);
      target[0] += scalar_t(gradient[k][0]);
      target[1] += scalar_t(gradient[k][1]);
      target[2] += scalar_t(moments[face].depth[k][0]);
      target[3] += scalar_t(gradient[k][3] + moments[face].depth[k][1]);
    }
  }
}

}  // namespace ops
