// The inner loops of visibility on the CPU.
#include "visibility_cpu.h"

namespace ops {
namespace {

OPS_INLINE bool fits_32_bits(const Piece& piece) {
  bool fits = true;
  for (int k = 0; k < 3; ++k)
    for (int corner = 0; corner < 4; ++corner) {
      const int64_t column = corner & 1 ? piece.column_max + kLanes : piece.column_min;
      const int64_t row = corner & 2 ? piece.row_max + 1 : piece.row_min;
      const int64_t value = piece.a[k] * column + piece.b[k] * row + piece.c[k];
      fits &= value > -(int64_t(1) << 30) && value < (int64_t(1) << 30);
    }
  return fits;
}

template <typename scalar_t>
OPS_INLINE void set_up(const scalar_t* positions, const int32_t* faces, int64_t begin, int64_t end, int height,
                       int width, FaceForm* forms, std::vector<DrawnPiece>& pieces) {
  for (int64_t face = begin; face < end; ++face) {
    Corner corners[3];
    for (int k = 0; k < 3; ++k)
      corners[k] = corner_from_clip(positions + 4 * int64_t(faces[3 * face + k]), height, width);
    FaceForm& form = forms[face];
    if (!make_form(corners, form)) continue;
    Piece made[kMaxPieces];
    const int count = make_pieces(corners, height, width, made);
    for (int i = 0; i < count; ++i)
      pieces.push_back(
          {made[i], int32_t(face), fits_32_bits(made[i]), {form.depth[0], form.depth[1], form.depth[2]}});
  }
}

// One row of a piece, 16 columns at a time; an edge's sign bit says outside.
OPS_INLINE void draw_narrow(const DrawnPiece& drawn, int row, float* __restrict nearest, int32_t* __restrict ids) {
  const Piece& piece = drawn.piece;
  const int32_t a0 = piece.a[0], a1 = piece.a[1], a2 = piece.a[2], face = drawn.face;
  int32_t edge[3];
  for (int k = 0; k < 3; ++k)
    edge[k] = int32_t(piece.a[k] * int64_t(piece.column_min) + piece.b[k] * int64_t(row) + piece.c[k]);
  const double depth_row = drawn.depth[1] * (row + 0.5) + drawn.depth[2], depth_step = drawn.depth[0];
  for (int column = piece.column_min; column <= piece.column_max; column += kLanes) {
    float* z_at = nearest + column;
    int32_t* id_at = ids + column;
    const double first = column + 0.5;
    for (int i = 0; i < kLanes; ++i) {
      const int32_t outside = (edge[0] + a0 * i) | (edge[1] + a1 * i) | (edge[2] + a2 * i);
      const float z = float(depth_step * (first + i) + depth_row), was = z_at[i];
      const bool seen = (outside >= 0) & (z < was);
      z_at[i] = seen ? z : was;
      id_at[i] = seen ? face : id_at[i];
    }
    edge[0] += a0 * kLanes;
    edge[1] += a1 * kLanes;
    edge[2] += a2 * kLanes;
  }
}

// The same for edge values of any size, held as whole numbers in double.
OPS_INLINE void draw_wide(const DrawnPiece& drawn, int row, float* __restrict nearest, int32_t* __restrict ids) {
  const Piece& piece = drawn.piece;
  double edge[3];
  for (int k = 0; k < 3; ++k) edge[k] = double(piece.b[k] * int64_t(row) + piece.c[k]);
  const double depth_row = drawn.depth[1] * (row + 0.5) + drawn.depth[2];
  for (int column = piece.column_min; column <= piece.column_max; ++column) {
    const bool inside = (edge[0] + double(piece.a[0]) * column >= 0.) & (edge[1] + double(piece.a[1]) * column >= 0.) &
                        (edge[2] + double(piece.a[2]) * column >= 0.);
    const float z = float(drawn.depth[0] * (column + 0.5) + depth_row);
    const bool seen = inside & (z < nearest[column]);
    nearest[column] = seen ? z : nearest[column];
    ids[column] = seen ? drawn.face : ids[column];
  }
}

OPS_INLINE void resolve_run(const FaceForm& form, int begin, int end, double y, double* __restrict u,
                            double* __restrict v, double* __restrict z) {
  const double f0 = form.form[0][0], f1 = form.form[1][0], s = form.sum[0], d = form.depth[0];
  const double f0_row = form.form[0][1] * y + form.form[0][2], f1_row = form.form[1][1] * y + form.form[1][2];
  const double s_row = form.sum[1] * y + form.sum[2], d_row = form.depth[1] * y + form.depth[2];
  for (int column = begin; column < end; column += 8) {  // overruns are overwritten by the next run
    const double first = column + 0.5;
    double *u_at = u + column, *v_at = v + column, *z_at = z + column;
    for (int i = 0; i < 8; ++i) {
      const double x = first + i, inverse = 1. / (s * x + s_row);
      const double at_u = std::min(std::max((f0 * x + f0_row) * inverse, 0.), 1.);
      const double at_v = std::min(std::max((f1 * x + f1_row) * inverse, 0.), 1. - at_u);
      u_at[i] = at_u;
      v_at[i] = at_v;
      z_at[i] = d * x + d_row;
    }
  }
}

template <typename scalar_t>
OPS_INLINE void resolve(const FaceForm* forms, const int32_t* ids, int row, int width, const RasterOutput<scalar_t>& out,
                        double* scratch) {
  double *__restrict u = scratch, *__restrict v = u + width + 8, *__restrict z = v + width + 8;
  const double y = row + 0.5;
  for (int begin = 0, end; begin < width; begin = end) {
    const int32_t face = ids[begin];
    for (end = begin + 1; end < width && ids[end] == face;) ++end;
    if (face >= 0) {
      resolve_run(forms[face], begin, end, y, u, v, z);
      continue;
    }
    std::fill(u + begin, u + end, 0.);
    std::fill(v + begin, v + end, 0.);
    std::fill(z + begin, z + end, 1.);
  }
  std::copy_n(ids, width, out.face_id);
  scalar_t *__restrict depth = out.depth, *__restrict weights = out.barycentrics;
  for (int64_t column = 0; column < width; ++column) depth[column] = scalar_t(z[column]);
  for (int64_t column = 0; column < width; ++column) {
    weights[2 * column] = scalar_t(u[column]);
    weights[2 * column + 1] = scalar_t(v[column]);
  }
  if (!out.derivatives) return;
  for (int column = 0; column < width; ++column) {
    double slopes[4] = {0., 0., 0., 0.};
    if (ids[column] >= 0)
      barycentric_derivatives_at(forms[ids[column]], column + 0.5, y, u[column], v[column], slopes);
    for (int i = 0; i < 4; ++i) out.derivatives[4 * column + i] = scalar_t(slopes[i]);
  }
}

OPS_CLONES void resolve_float(const FaceForm* forms, const int32_t* ids, int row, int width,
                              const RasterOutput<float>& out, double* scratch) {
  resolve(forms, ids, row, width, out, scratch);
}

OPS_CLONES void resolve_double(const FaceForm* forms, const int32_t* ids, int row, int width,
                               const RasterOutput<double>& out, double* scratch) {
  resolve(forms, ids, row, width, out, scratch);
}

}  // namespace

OPS_CLONES void set_up_faces(const float* positions, const int32_t* faces, int64_t begin, int64_t end, int height,
                             int width, FaceForm* forms, std::vector<DrawnPiece>& pieces) {
  set_up(positions, faces, begin, end, height, width, forms, pieces);
}

OPS_CLONES void set_up_faces(const double* positions, const int32_t* faces, int64_t begin, int64_t end, int height,
                             int width, FaceForm* forms, std::vector<DrawnPiece>& pieces) {
  set_up(positions, faces, begin, end, height, width, forms, pieces);
}

OPS_CLONES void draw_pieces(const DrawnPiece* const* pieces, int64_t count, BandBuffer& band) {
  for (int64_t i = 0; i < count; ++i) {
    const DrawnPiece& drawn = *pieces[i];
    const int begin = drawn.piece.row_min > band.row_begin ? drawn.piece.row_min : band.row_begin;
    const int end = drawn.piece.row_max + 1 < band.row_end ? drawn.piece.row_max + 1 : band.row_end;
    for (int row = begin; row < end; ++row) {
      const size_t at = size_t(row - band.row_begin) * band.stride;
      if (drawn.narrow)
        draw_narrow(drawn, row, &band.nearest[at], &band.face[at]);
      else
        draw_wide(drawn, row, &band.nearest[at], &band.face[at]);
    }
  }
}

void resolve_row(const FaceForm* forms, const int32_t* ids, int row, int width, const RasterOutput<float>& out) {
  const std::unique_ptr<double[]> scratch(new double[3 * (size_t(width) + 8)]);
  resolve_float(forms, ids, row, width, out, scratch.get());
}

void resolve_row(const FaceForm* forms, const int32_t* ids, int row, int width, const RasterOutput<double>& out) {
  const std::unique_ptr<double[]> scratch(new double[3 * (size_t(width) + 8)]);
  resolve_double(forms, ids, row, width, out, scratch.get());
}

}  // namespace ops
