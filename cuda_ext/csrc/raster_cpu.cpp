// The inner loops of visibility on the CPU.
#include "raster_cpu.h"

namespace ops {
namespace {

// One row of a piece, 16 columns at a time; an edge's sign bit says outside.
OPS_INLINE void draw_narrow(const DrawnPiece& drawn, int row, float* nearest, int32_t* ids) {
  const Piece& piece = drawn.piece;
  const IntLanes lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  IntLanes edge[3];
  for (int k = 0; k < 3; ++k)
    edge[k] = int32_t(piece.a[k] * int64_t(piece.column_min) + piece.b[k] * int64_t(row) + piece.c[k]) +
              piece.a[k] * lane;
  const double depth_row = drawn.depth[1] * (row + 0.5) + drawn.depth[2];
  for (int column = piece.column_min; column <= piece.column_max; column += kLanes) {
    const DoubleLanes x = kEightColumns + (column + 0.5);
    const DoubleLanes low = drawn.depth[0] * x + depth_row, high = drawn.depth[0] * (x + 8.) + depth_row;
    FloatLanes z;
    const HalfFloatLanes halves[2] = {__builtin_convertvector(low, HalfFloatLanes),
                                      __builtin_convertvector(high, HalfFloatLanes)};
    __builtin_memcpy(&z, halves, sizeof(z));
    FloatLanes& z_at = *reinterpret_cast<FloatLanes*>(nearest + column);
    IntLanes& id_at = *reinterpret_cast<IntLanes*>(ids + column);
    const IntLanes seen = ((edge[0] | edge[1] | edge[2]) >= 0) & (z < z_at);
    z_at = seen ? z : z_at;
    id_at = seen ? IntLanes{} + drawn.face : id_at;
    for (int k = 0; k < 3; ++k) edge[k] += piece.a[k] * kLanes;
  }
}

// The same for edge values of any size, held as whole numbers in double.
OPS_INLINE void draw_wide(const DrawnPiece& drawn, int row, float* nearest, int32_t* ids) {
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

template <typename scalar_t>
OPS_INLINE void resolve_run(const FaceForm& form, int begin, int end, double y, double* u, double* v, double* z) {
  double row[3];
  for (int k = 0; k < 2; ++k) row[k] = form.form[k][1] * y;
  row[2] = form.sum[1] * y;
  const double depth_row = form.depth[1] * y;
  for (int column = begin; column < end; column += 8) {  // overruns are overwritten by the next run
    const DoubleLanes x = kEightColumns + (column + 0.5);
    const DoubleLanes inverse = 1. / ((form.sum[0] * x + row[2]) + form.sum[2]);
    DoubleLanes at_u = ((form.form[0][0] * x + row[0]) + form.form[0][2]) * inverse;
    DoubleLanes at_v = ((form.form[1][0] * x + row[1]) + form.form[1][2]) * inverse;
    at_u = at_u < 0. ? DoubleLanes{} : (at_u > 1. ? DoubleLanes{} + 1. : at_u);
    at_v = at_v < 0. ? DoubleLanes{} : (at_v > 1. - at_u ? 1. - at_u : at_v);
    *reinterpret_cast<DoubleLanes*>(u + column) = at_u;
    *reinterpret_cast<DoubleLanes*>(v + column) = at_v;
    *reinterpret_cast<DoubleLanes*>(z + column) = (form.depth[0] * x + depth_row) + form.depth[2];
  }
}

template <typename scalar_t>
OPS_INLINE void resolve(const FaceForm* forms, const int32_t* ids, int row, int width, const RasterOutput<scalar_t>& out,
                        double* scratch) {
  double *u = scratch, *v = u + width + 8, *z = v + width + 8;
  const double y = row + 0.5;
  for (int begin = 0, end; begin < width; begin = end) {
    const int32_t face = ids[begin];
    for (end = begin + 1; end < width && ids[end] == face;) ++end;
    if (face >= 0) {
      resolve_run<scalar_t>(forms[face], begin, end, y, u, v, z);
      continue;
    }
    for (int column = begin; column < end; ++column) {
      u[column] = v[column] = 0.;
      z[column] = 1.;
    }
  }
  for (int column = 0; column < width; ++column) {
    out.face_id[column] = ids[column];
    out.depth[column] = scalar_t(z[column]);
  }
  for (int column = 0; column < width; ++column) {
    out.barycentrics[2 * column] = scalar_t(u[column]);
    out.barycentrics[2 * column + 1] = scalar_t(v[column]);
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

OPS_CLONES void draw_pieces(const DrawnPiece* pieces, const int32_t* chosen, int64_t count, BandBuffer& band) {
  for (int64_t i = 0; i < count; ++i) {
    const DrawnPiece& drawn = pieces[chosen[i]];
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
