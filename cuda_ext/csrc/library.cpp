// Schemas of the ops. Implementations register themselves next to their code: *_cpu.cpp, *_cuda.cu.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(cuda_ext, m) {
  m.def("check_mesh(Tensor values, Tensor faces) -> int");
  m.def("indices_inside(Tensor indices, int least, int end) -> bool");
  m.def(
      "rasterize(Tensor clip_positions, Tensor faces, int height, int width, bool derivatives, bool deterministic) -> "
      "(Tensor barycentrics, Tensor depth, Tensor face_id, Tensor derivatives)");
  m.def(
      "rasterize_backward(Tensor clip_positions, Tensor faces, Tensor face_id, Tensor barycentrics, "
      "Tensor grad_barycentrics, Tensor? grad_depth, bool deterministic) -> Tensor");
  m.def(
      "interpolate(Tensor attributes, Tensor face_id, Tensor barycentrics, Tensor faces, bool deterministic) "
      "-> Tensor");
  m.def(
      "interpolate_backward(Tensor attributes, Tensor face_id, Tensor barycentrics, Tensor faces, Tensor grad, "
      "bool deterministic) -> (Tensor, Tensor)");
  m.def(
      "texture(Tensor texels, Tensor uv, Tensor? uv_da, int height, int width, int levels, int filter, int boundary, "
      "bool deterministic) -> Tensor");
  m.def(
      "texture_backward(Tensor texels, Tensor uv, Tensor? uv_da, Tensor grad, int height, int width, int levels, "
      "int filter, int boundary, bool deterministic) -> (Tensor, Tensor)");
  m.def(
      "shade(Tensor clip_positions, Tensor faces, Tensor vertex_uv, Tensor face_region, Tensor texels, int height, "
      "int width, int map_height, int map_width, int levels, int filter, int boundary, bool deterministic) -> "
      "(Tensor features, Tensor region, Tensor face_id, Tensor barycentrics, Tensor depth)");
  m.def(
      "shade_backward(Tensor clip_positions, Tensor faces, Tensor vertex_uv, Tensor face_region, Tensor texels, "
      "Tensor face_id, Tensor barycentrics, Tensor? grad_features, Tensor? grad_barycentrics, Tensor? grad_depth, "
      "int map_height, int map_width, int levels, int filter, int boundary, bool need_positions, bool need_uv, "
      "bool need_texels, bool deterministic) -> (Tensor, Tensor, Tensor)");
  m.def(
      "antialias(Tensor image, Tensor face_id, Tensor depth, Tensor clip_positions, Tensor faces, Tensor topology, "
      "bool deterministic) -> Tensor");
  m.def(
      "antialias_backward(Tensor image, Tensor face_id, Tensor depth, Tensor clip_positions, Tensor faces, "
      "Tensor topology, Tensor grad, bool deterministic) -> (Tensor, Tensor)");
}
