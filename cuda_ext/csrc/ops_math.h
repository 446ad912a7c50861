// Arithmetic shared by the CPU and CUDA ops: triangle set-up, barycentrics, texture taps.
//
// Conventions: clip space x right, y up, z in [-w, w], smaller z/w is nearer. Pixel space x right, y down, the
// centre of the pixel in column i and row j is (i + 0.5, j + 0.5). Texture space: origin top left, texel centres at
// (i + 0.5) / width. Set-up runs in double whatever the type of the inputs, so that coverage does not depend on it.
#pragma once

#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define OPS_INLINE __host__ __device__ __forceinline__
#else
#define OPS_INLINE inline __attribute__((always_inline))
#endif

namespace ops {

constexpr int kSubpixels = 4096;       // snapping grid: 1/4096 px, an edge moves by less than 0.0002 px
constexpr double kGuardBand = 32768.;  // px kept around the image before a triangle is clipped
constexpr int kMaxCorners = 9;         // 3 corners + one per clipping plane (near, far, left, right, top, bottom)
constexpr int kMaxPieces = kMaxCorners - 2;

// How many int32 indices are in [least, end).
OPS_INLINE uint32_t count_between(int64_t least, int64_t end) {
  return uint32_t((end < (int64_t(1) << 31) ? end : int64_t(1) << 31) - least);
}

struct Corner {
  double x, y, z, w;  // x, y in px times w
};

// The perspective-correct barycentrics of one face at pixel point p: b_k(p) = a_k(p) / (a_0 + a_1 + a_2)(p) with
// a_k(p) = form[k] . (p.x, p.y, 1), the cross product of the other two corners (x, y, w).
struct FaceForm {
  double form[3][3];
  double sum[3];    // of the three rows
  double depth[3];  // z / w at p = depth . (p.x, p.y, 1)
};

// One snapped triangle: pixel (i, j) is covered when a[k] * i + b[k] * j + c[k] >= 0 for all k (top-left rule included).
struct Piece {
  int64_t c[3];
  int32_t a[3], b[3];
  int32_t column_min, column_max, row_min, row_max;  // inclusive
};

template <typename scalar_t>
OPS_INLINE Corner corner_from_clip(const scalar_t* clip, int height, int width) {
  const double x = clip[0], y = clip[1], w = clip[3];
  return {(x + w) * (0.5 * width), (w - y) * (0.5 * height), double(clip[2]), w};
}

// Returns false where the face has no area (seen edge-on, or degenerate): it covers nothing.
OPS_INLINE bool make_form(const Corner corners[3], FaceForm& out) {
  for (int k = 0; k < 3; ++k) {
    const Corner& p = corners[(k + 1) % 3];
    const Corner& q = corners[(k + 2) % 3];
    out.form[k][0] = p.y * q.w - p.w * q.y;
    out.form[k][1] = p.w * q.x - p.x * q.w;
    out.form[k][2] = p.x * q.y - p.y * q.x;
  }
  const Corner& c = corners[0];
  const double determinant = out.form[0][0] * c.x + out.form[0][1] * c.y + out.form[0][2] * c.w;
  if (!(determinant != 0.)) return false;
  const double inverse = 1. / determinant;
  if (!std::isfinite(inverse)) return false;
  for (int i = 0; i < 3; ++i) {
    out.sum[i] = out.form[0][i] + out.form[1][i] + out.form[2][i];
    out.depth[i] =
        (out.form[0][i] * corners[0].z + out.form[1][i] * corners[1].z + out.form[2][i] * corners[2].z) * inverse;
  }
  return true;
}

OPS_INLINE double plane_distance(const Corner& c, int plane, int height, int width) {
  switch (plane) {
    case 0: return c.z + c.w;
    case 1: return c.w - c.z;
    case 2: return c.x + kGuardBand * c.w;
    case 3: return (width + kGuardBand) * c.w - c.x;
    case 4: return c.y + kGuardBand * c.w;
    default: return (height + kGuardBand) * c.w - c.y;
  }
}

// Clips a convex polygon in place (Sutherland-Hodgman). A new corner is always computed from the inner towards the
// outer corner, so that two faces sharing an edge get the same one. Returns the number of corners left.
OPS_INLINE int clip_polygon(Corner* corners, int count, int height, int width) {
  Corner scratch[kMaxCorners];
  for (int plane = 0; plane < 6; ++plane) {
    bool all_inside = true;
    for (int i = 0; i < count; ++i) all_inside &= plane_distance(corners[i], plane, height, width) >= 0.;
    if (all_inside) continue;
    int kept = 0;
    for (int i = 0; i < count; ++i) {
      const Corner p = corners[i], q = corners[(i + 1) % count];
      const double dp = plane_distance(p, plane, height, width), dq = plane_distance(q, plane, height, width);
      if (dp >= 0. && kept < kMaxCorners) scratch[kept++] = p;
      if ((dp >= 0.) != (dq >= 0.) && kept < kMaxCorners) {
        const bool leaving = dp >= 0.;
        const Corner& inner = leaving ? p : q;
        const Corner& outer = leaving ? q : p;
        const double d_inner = leaving ? dp : dq, d_outer = leaving ? dq : dp;
        const double t = d_inner / (d_inner - d_outer);
        scratch[kept++] = {inner.x + t * (outer.x - inner.x), inner.y + t * (outer.y - inner.y),
                           inner.z + t * (outer.z - inner.z), inner.w + t * (outer.w - inner.w)};
      }
    }
    count = kept;
    for (int i = 0; i < count; ++i) corners[i] = scratch[i];
    if (count < 3) return 0;
  }
  return count;
}

OPS_INLINE int64_t floor_divide(int64_t value, int64_t divisor) {
  const int64_t quotient = value / divisor;
  return quotient - (quotient * divisor > value);
}

// Snapped corners in sub-pixels -> piece; false where it covers no pixel centre of the image.
OPS_INLINE bool make_piece(const int64_t xs[3], const int64_t ys[3], int height, int width, Piece& out) {
  const int64_t area = (xs[1] - xs[0]) * (ys[2] - ys[0]) - (ys[1] - ys[0]) * (xs[2] - xs[0]);
  if (area == 0) return false;
  const int order[3] = {0, area > 0 ? 1 : 2, area > 0 ? 2 : 1};
  int64_t x_min = xs[0], x_max = xs[0], y_min = ys[0], y_max = ys[0];
  for (int k = 1; k < 3; ++k) {
    x_min = xs[k] < x_min ? xs[k] : x_min;
    x_max = xs[k] > x_max ? xs[k] : x_max;
    y_min = ys[k] < y_min ? ys[k] : y_min;
    y_max = ys[k] > y_max ? ys[k] : y_max;
  }
  constexpr int64_t half = kSubpixels / 2;
  const int64_t column_min = floor_divide(x_min - half + kSubpixels - 1, kSubpixels);
  const int64_t column_max = floor_divide(x_max - half, kSubpixels);
  const int64_t row_min = floor_divide(y_min - half + kSubpixels - 1, kSubpixels);
  const int64_t row_max = floor_divide(y_max - half, kSubpixels);
  out.column_min = int32_t(column_min > 0 ? column_min : 0);
  out.column_max = int32_t(column_max < width - 1 ? column_max : width - 1);
  out.row_min = int32_t(row_min > 0 ? row_min : 0);
  out.row_max = int32_t(row_max < height - 1 ? row_max : height - 1);
  if (out.column_min > out.column_max || out.row_min > out.row_max) return false;
  for (int k = 0; k < 3; ++k) {
    const int from = order[k], to = order[(k + 1) % 3];
    const int64_t a = ys[from] - ys[to], b = xs[to] - xs[from];
    // On an edge: covered if the edge is a left one, or a top one. An exact integer 0 becomes -1 elsewhere.
    const int64_t bias = (a > 0 || (a == 0 && b > 0)) ? 0 : -1;
    out.a[k] = int32_t(a);
    out.b[k] = int32_t(b);
    out.c[k] = floor_divide(half * (a + b) - a * xs[from] - b * ys[from] + bias, kSubpixels);
  }
  return true;
}

// Splits a face into snapped pieces (one where nothing is clipped). Returns how many cover at least one pixel.
OPS_INLINE int make_pieces(const Corner face[3], int height, int width, Piece out[kMaxPieces]) {
  Corner corners[kMaxCorners] = {face[0], face[1], face[2]};
  const int count = clip_polygon(corners, 3, height, width);
  int64_t xs[kMaxCorners], ys[kMaxCorners];
  for (int i = 0; i < count; ++i) {
    if (!(corners[i].w > 0.)) return 0;
    xs[i] = int64_t(std::floor(corners[i].x / corners[i].w * kSubpixels + 0.5));
    ys[i] = int64_t(std::floor(corners[i].y / corners[i].w * kSubpixels + 0.5));
  }
  int pieces = 0;
  for (int i = 2; i < count; ++i) {
    const int64_t fan_x[3] = {xs[0], xs[i - 1], xs[i]}, fan_y[3] = {ys[0], ys[i - 1], ys[i]};
    pieces += make_piece(fan_x, fan_y, height, width, out[pieces]);
  }
  return pieces;
}

OPS_INLINE double dot_point(const double form[3], double x, double y) { return form[0] * x + (form[1] * y + form[2]); }

// Barycentrics of corners 0 and 1 at a pixel point, kept inside the triangle (rounding and snapping step over edges).
OPS_INLINE void barycentrics_at(const FaceForm& face, double x, double y, double& u, double& v) {
  const double inverse = 1. / dot_point(face.sum, x, y);
  u = dot_point(face.form[0], x, y) * inverse;
  v = dot_point(face.form[1], x, y) * inverse;
  u = u < 0. ? 0. : (u > 1. ? 1. : u);
  v = v < 0. ? 0. : (v > 1. - u ? 1. - u : v);
}

// d(u, v) / d(x, y) in 1/px, in the order du/dx, du/dy, dv/dx, dv/dy.
OPS_INLINE void barycentric_derivatives_at(const FaceForm& face, double x, double y, double u, double v,
                                           double out[4]) {
  const double inverse = 1. / dot_point(face.sum, x, y);
  out[0] = (face.form[0][0] - u * face.sum[0]) * inverse;
  out[1] = (face.form[0][1] - u * face.sum[1]) * inverse;
  out[2] = (face.form[1][0] - v * face.sum[0]) * inverse;
  out[3] = (face.form[1][1] - v * face.sum[1]) * inverse;
}

// Adds a gradient to (x w, y w, w) in px to that of the clip position (x, y, z, w) it came from.
template <typename F>
OPS_INLINE void add_clip_gradient(const double q[3], int height, int width, const F& add) {
  add(0, q[0] * (0.5 * width));
  add(1, -q[1] * (0.5 * height));
  add(3, q[2] + q[0] * (0.5 * width) + q[1] * (0.5 * height));
}

// Gradients of the barycentrics. With M = [q_0 q_1 q_2], q = (x, y, w) and M b = lambda p, sum b = 1:
// dL/dq_j = -b_j M^-T (g - (g . b) 1). The sum over the pixels of b_j (g - (g . b) 1) is kept per face
// (`moments[j]`), and M^-T, the cofactors over the determinant, is applied once. Adds to gradient[j] of the clip
// position (x, y, z, w).
OPS_INLINE void position_gradient(const Corner corners[3], const double moments[3][3], int height, int width,
                                  double gradient[3][4]) {
  FaceForm face;
  if (!make_form(corners, face)) return;
  const double determinant =
      face.form[0][0] * corners[0].x + face.form[0][1] * corners[0].y + face.form[0][2] * corners[0].w;
  for (int j = 0; j < 3; ++j) {
    double q[3];
    for (int i = 0; i < 3; ++i)
      q[i] = -(face.form[0][i] * moments[j][0] + face.form[1][i] * moments[j][1] + face.form[2][i] * moments[j][2]) /
             determinant;
    add_clip_gradient(q, height, width, [&](int axis, double value) { gradient[j][axis] += value; });
  }
}

// ---- antialiasing ----------------------------------------------------------------------------------------------

constexpr int kWalkFaces = 16;  // faces walked through, at most, between two pixel centres

// Where the outline of the front face passes between two neighbouring pixel centres, the one that it covers more than
// half of the way towards takes a share of the other's colour.
struct Blend {
  bool second = false;   // the pixel that takes is the second of the pair
  double share = 0.;     // of the other's colour, at most 1/2; 0: nothing to blend
  double toward[3];      // d share = toward . d(edge form), see blend_gradient()
  int32_t face = 0;      // whose edge it is,
  int from = 0, to = 0;  // and the corners that the edge joins
  Corner corners[3];     // of that face
};

// Walks from `p`, the centre of the pixel where face `front` is seen, to its neighbour's centre `q`, from face to face
// across shared edges, until it crosses an edge of the outline: no face behind it (neighbours[k] < 0; edge k joins the
// corners other than k), or one folded back. The edge counts if it is steeper than 45 degrees to the way: each is
// followed along one axis only, else it would count twice. `front_first`: p is the first pixel of the pair.
// Mesh has corners(face, Corner[3]), and vertices(face) and neighbours(face) -> const int32_t*.
template <typename Mesh>
OPS_INLINE void find_blend(const Mesh& mesh, int32_t front, const double p[2], const double q[2], bool front_first,
                           Blend& blend) {
  int32_t previous = -1;
  blend.face = front;
  for (int step = 0; step < kWalkFaces; ++step) {
    mesh.corners(blend.face, blend.corners);
    const int32_t* neighbours = mesh.neighbours(blend.face);
    FaceForm face;
    if (!make_form(blend.corners, face)) return;
    const Corner& c = blend.corners[0];
    const double sign = face.form[0][0] * c.x + face.form[0][1] * c.y + face.form[0][2] * c.w > 0. ? 1. : -1.;
    int edge = -1;
    double nearest = 2., at_p = 0., at_q = 0.;
    for (int k = 0; k < 3; ++k) {
      if (step > 0 && neighbours[k] == previous) continue;
      const double ep = sign * dot_point(face.form[k], p[0], p[1]), eq = sign * dot_point(face.form[k], q[0], q[1]);
      if (!(eq < 0.)) continue;
      const double inside = ep > 0. ? ep : 0., t = inside / (inside - eq);
      if (t < nearest) {
        nearest = t;
        edge = k;
        at_p = ep;
        at_q = eq;
      }
    }
    if (edge < 0) return;
    const double* form = face.form[edge];
    const int32_t next = neighbours[edge];
    if (next >= 0) {
      const int32_t *own = mesh.vertices(blend.face), *other = mesh.vertices(next);
      const int32_t from = own[(edge + 1) % 3], to = own[(edge + 2) % 3];
      int third = 0;  // the corner that is not on the edge
      while (third < 2 && (other[third] == from || other[third] == to)) ++third;
      Corner beyond[3];
      mesh.corners(next, beyond);
      const Corner& far = beyond[third];
      if (sign * (form[0] * far.x + form[1] * far.y + form[2] * far.w) < 0.) {  // it goes on behind the edge
        previous = blend.face;
        blend.face = next;
        continue;
      }
    }
    const double across_x = std::fabs(form[0]), across_y = std::fabs(form[1]);
    if (p[1] == q[1] ? across_x < across_y : across_x >= across_y) return;
    const bool grows = nearest > 0.5;  // the front face reaches into its neighbour
    blend.second = grows == front_first;
    blend.share = grows ? nearest - 0.5 : 0.5 - nearest;
    blend.from = (edge + 1) % 3;
    blend.to = (edge + 2) % 3;
    const double inside = at_p > 0. ? at_p : 0., inverse = 1. / ((inside - at_q) * (inside - at_q));
    const double slope = (grows ? 1. : -1.) * sign * inverse;
    const double by_p = at_p > 0. ? -at_q * slope : 0., by_q = inside * slope;
    blend.toward[0] = by_p * p[0] + by_q * q[0];
    blend.toward[1] = by_p * p[1] + by_q * q[1];
    blend.toward[2] = by_p + by_q;
    return;
  }
}

// d share / d corner: the edge form at a point is det(from, to, point), so it is to x point, and point x from.
OPS_INLINE void blend_gradient(const Blend& blend, double from[3], double to[3]) {
  const Corner &a = blend.corners[blend.from], &b = blend.corners[blend.to];
  const double* d = blend.toward;
  from[0] = b.y * d[2] - b.w * d[1];
  from[1] = b.w * d[0] - b.x * d[2];
  from[2] = b.x * d[1] - b.y * d[0];
  to[0] = d[1] * a.w - d[2] * a.y;
  to[1] = d[2] * a.x - d[0] * a.w;
  to[2] = d[0] * a.y - d[1] * a.x;
}

// ---- texture ---------------------------------------------------------------------------------------------------

enum Filter : int { kNearest = 0, kBilinear = 1, kTrilinear = 2 };
enum Boundary : int { kWrap = 0, kClamp = 1 };

// Keeps float -> int conversions defined for infinite and NaN coordinates.
template <typename T>
OPS_INLINE T finite_coordinate(T value) {
  return value > T(-1e9) ? (value < T(1e9) ? value : T(1e9)) : T(-1e9);
}

OPS_INLINE int32_t bounded_texel(int32_t index, int size, Boundary boundary) {
  if (boundary == kWrap) {
    const int32_t rest = index % size;
    return rest < 0 ? rest + size : rest;
  }
  return index < 0 ? 0 : (index >= size ? size - 1 : index);
}

// The four texels around a point of one mip level.
template <typename T>
struct Taps {
  int32_t offset[4];  // (y0, x0), (y0, x1), (y1, x0), (y1, x1)
  T fx, fy;           // fraction from x0 to x1, y0 to y1
};

template <typename T>
OPS_INLINE Taps<T> bilinear_taps(T u, T v, int height, int width, Boundary boundary) {
  const T x = finite_coordinate(u * width - T(0.5)), y = finite_coordinate(v * height - T(0.5));
  const T floor_x = std::floor(x), floor_y = std::floor(y);
  const int32_t ix = int32_t(floor_x), iy = int32_t(floor_y);
  const int32_t x0 = bounded_texel(ix, width, boundary), x1 = bounded_texel(ix + 1, width, boundary);
  const int32_t y0 = bounded_texel(iy, height, boundary), y1 = bounded_texel(iy + 1, height, boundary);
  return {{y0 * width + x0, y0 * width + x1, y1 * width + x0, y1 * width + x1}, x - floor_x, y - floor_y};
}

template <typename T>
OPS_INLINE int32_t nearest_tap(T u, T v, int height, int width, Boundary boundary) {
  const int32_t ix = int32_t(std::floor(finite_coordinate(u * width)));
  const int32_t iy = int32_t(std::floor(finite_coordinate(v * height)));
  return bounded_texel(iy, height, boundary) * width + bounded_texel(ix, width, boundary);
}

// Mip level of a footprint: log2 of the longer axis, in texels, of the ellipse that one pixel covers in the texture.
// uv_da = du/dx, du/dy, dv/dx, dv/dy in 1/px.
template <typename T>
OPS_INLINE T mip_level(const T uv_da[4], int height, int width, int levels) {
  const T ux = uv_da[0] * width, uy = uv_da[1] * width, vx = uv_da[2] * height, vy = uv_da[3] * height;
  const T xx = ux * ux + vx * vx, yy = uy * uy + vy * vy, xy = ux * uy + vx * vy;
  const T major = T(0.5) * (xx + yy + std::sqrt((xx - yy) * (xx - yy) + 4 * xy * xy));
  const T level = major > 1 ? T(0.5) * std::log2(major) : T(0);
  return level < levels - 1 ? level : T(levels - 1);
}

struct Sampler {
  int height, width, levels;
  Filter filter;
  Boundary boundary;
};

// The texels of one sample: up to two mip levels of four. `du`, `dv` are the derivatives of the weights to uv.
template <typename T>
struct TapList {
  int count = 0;
  int32_t texel[8];
  T weight[8], du[8], dv[8];

  OPS_INLINE void add(int32_t index, T w, T w_du, T w_dv) {
    texel[count] = index;
    weight[count] = w;
    du[count] = w_du;
    dv[count] = w_dv;
    ++count;
  }

  OPS_INLINE void add_bilinear(const Sampler& sampler, T u, T v, int level, int32_t first, T scale) {
    const int height = sampler.height >> level, width = sampler.width >> level;
    const Taps<T> taps = bilinear_taps(u, v, height, width, sampler.boundary);
    const T gx = 1 - taps.fx, gy = 1 - taps.fy, sx = scale * width, sy = scale * height;
    add(first + taps.offset[0], scale * gx * gy, -sx * gy, -sy * gx);
    add(first + taps.offset[1], scale * taps.fx * gy, sx * gy, -sy * taps.fx);
    add(first + taps.offset[2], scale * gx * taps.fy, -sx * taps.fy, sy * gx);
    add(first + taps.offset[3], scale * taps.fx * taps.fy, sx * taps.fy, sy * taps.fx);
  }
};

// `uv_da` is read for trilinear only.
template <typename T>
OPS_INLINE TapList<T> list_taps(const Sampler& sampler, T u, T v, const T* uv_da) {
  TapList<T> list;
  if (sampler.filter == kNearest) {
    list.add(nearest_tap(u, v, sampler.height, sampler.width, sampler.boundary), 1, 0, 0);
  } else if (sampler.filter == kBilinear) {
    list.add_bilinear(sampler, u, v, 0, 0, 1);
  } else {
    const T position = mip_level(uv_da, sampler.height, sampler.width, sampler.levels);
    const int level = int(position);
    int32_t first = 0;
    for (int i = 0; i < level; ++i) first += (sampler.height >> i) * (sampler.width >> i);
    const T coarse = position - level;
    list.add_bilinear(sampler, u, v, level, first, 1 - coarse);
    if (coarse > 0)
      list.add_bilinear(sampler, u, v, level + 1, first + (sampler.height >> level) * (sampler.width >> level), coarse);
  }
  return list;
}

}  // namespace ops
