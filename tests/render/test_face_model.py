import pytest
import torch

from prior.cache.landmarks import FILE_NAME, Landmarks
from prior.face.model import load_face_model
from prior.face.points import EYE_DISTANCE_CM, FACE_OVAL, LIP_PAIRS, eye_distance, lip_gap, opening
from prior.training.face_model import build, read_people
from prior.training.head_mesh import JAW_POINTS, mirror_index, skin_faces
from render.errors import StoreError
from render.head.camera import rotation_matrix
from render.head.face_model import REGIONS, FaceModel

POINTS = 468


@pytest.fixture(scope="module")
def model():
    return load_face_model()


def test_the_shipped_head_is_metric_symmetric_and_looks_out_of_the_page(model):
    mean = model.mean[:POINTS].double()
    assert abs(float(eye_distance(mean)) - EYE_DISTANCE_CM) < 0.1
    mirror = mirror_index(mean)
    flip = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(mean[mirror] * flip, mean, atol=2e-3, rtol=0)
    assert mean[1, 2] > mean[33, 2] > mean[234, 2], "nose before eyes before ears"
    assert mean[10, 1] > mean[152, 1] and mean[263, 0] > mean[33, 0]
    corners = model.mean[model.faces[model.faces_in("skin_upper", "skin_lower", "lips", "eyes")].long()]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (normal[:, 2] > 0).float().mean() > 0.99


def test_the_first_axis_opens_the_jaw_and_expression_leaves_the_skull_alone(model):
    lower = torch.zeros(3, len(model.lower_basis))
    lower[:, 0] = torch.tensor([0.0, 1.0, 3.0])
    gap = lip_gap(model.vertices(torch.zeros(len(model.shape_basis)), lower))
    assert abs(float(gap[0])) < 0.1 and gap[1] > 0.5 and gap[2] > 2 * gap[1]
    assert model.lower_basis[0, 152, 1] < -0.1, "the chin goes down"
    skull = [33, 133, 362, 263, 168, 6]
    assert model.lower_basis[:, skull].norm(dim=-1).max() < 0.01
    assert model.rigid_weight[168] > 0.9 > 0.2 > model.rigid_weight[14]


def test_opening_is_the_gap_in_eye_distances_and_negative_where_lips_overlap(model):
    lower = torch.zeros(2, len(model.lower_basis))
    lower[:, 0] = torch.tensor([-1.0, 2.0])
    points = model.vertices(torch.zeros(len(model.shape_basis)), lower)
    assert torch.equal(opening(points), lip_gap(points) / eye_distance(points))
    torch.testing.assert_close(opening(7 * points), opening(points))
    assert opening(points)[0] < 0 < opening(points)[1]


def test_sheets_are_rigid_with_head_and_jaw_and_hidden_behind_closed_lips(model):
    upper = model.faces[model.faces_in("mouth_upper")].long().unique()
    lower = model.faces[model.faces_in("mouth_lower")].long().unique()
    assert (model.lower_basis[:, upper] == 0).all() and (model.upper_basis[:, lower].abs() < 1e-3).all()
    # First-order rigid: displacements are a shift and a turn, so their strain (symmetric gradient) is zero.
    design = torch.cat([model.mean[lower].double(), torch.ones(len(lower), 1).double()], 1)
    for axis in model.lower_basis[:, lower].double():
        gradient = torch.linalg.lstsq(design, axis).solution[:3]
        assert (gradient + gradient.T).abs().max() < 1e-4
    jaw, teeth = model.lower_basis[0, list(JAW_POINTS)].mean(0), model.lower_basis[0, lower].mean(0)
    assert teeth[1] < 0 and teeth[1] / jaw[1] > 0.5
    lips = model.mean[[point for pair in LIP_PAIRS for point in pair]]
    assert model.mean[upper, 2].max() < lips[:, 2].max() and model.mean[lower, 2].max() < lips[:, 2].max()


def test_the_unwrap_stays_in_the_square_without_folds_and_favours_the_lower_face(model):
    assert model.uv.min() >= 0 and model.uv.max() <= 1
    a, b, c = (model.uv[model.faces[:, corner].long()] for corner in range(3))
    area = -((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2  # y down
    assert (area > 0).all()
    share = {region: float(area[model.face_region == index].sum()) for index, region in enumerate(REGIONS)}
    assert share["skin_lower"] + share["lips"] > 1.5 * share["skin_upper"]
    assert model.uv[61, 0] < model.uv[291, 0] and model.uv[10, 1] < model.uv[152, 1]


def test_every_face_has_a_region_and_the_mesh_has_no_stray_vertices(model):
    assert (model.face_region < len(REGIONS)).all()
    assert torch.equal(model.faces.long().unique(), torch.arange(len(model.mean)))
    assert len(skin_faces()) == 852 and model.faces.dtype == torch.int32
    assert len(model.mean) == POINTS + 2 * len(FACE_OVAL) + 13 * (7 + 5)


def test_another_file_loads_and_a_wrong_one_is_named(model, tmp_path):
    model.save(tmp_path / "head.safetensors")
    again = load_face_model(tmp_path / "head.safetensors")
    for name, value in vars(model).items():
        assert torch.equal(value, getattr(again, name)) if isinstance(value, torch.Tensor) else True
    with pytest.raises(StoreError, match="no such file"):
        FaceModel.load(tmp_path / "none.safetensors")


def test_a_model_is_learnt_from_landmarks(model, tmp_path, monkeypatch):
    """People drawn from the shipped model, posed at random: what is learnt opens the jaw first and explains them."""
    monkeypatch.setattr("prior.training.face_model.SHAPE_AXES", 6)
    monkeypatch.setattr("prior.training.face_model.LOWER_AXES", 4)
    monkeypatch.setattr("prior.training.face_model.UPPER_AXES", 2)
    generator = torch.Generator().manual_seed(0)
    for person in range(8):
        shape = torch.zeros(len(model.shape_basis))
        shape[:6] = torch.randn(6, generator=generator)
        lower = torch.zeros(24, len(model.lower_basis))
        lower[:, :4] = torch.randn(24, 4, generator=generator) * 0.5
        lower[:, 0] = torch.rand(24, generator=generator) * 1.5
        upper = torch.zeros(24, len(model.upper_basis))
        upper[:, :2] = torch.randn(24, 2, generator=generator)
        head = model.vertices(shape, lower, upper)[:, :POINTS]
        turned = head @ rotation_matrix(0.2 * torch.randn(24, 3, generator=generator)).transpose(1, 2)
        points = turned * torch.tensor([12.0, -12.0, -12.0]) + 200
        Landmarks(
            400,
            400,
            torch.arange(24) / 25,
            torch.zeros(24).int(),
            points,
            torch.zeros(24, 0, 2),
            torch.ones(24),
            f"person {person}",
            {},
        ).save(tmp_path / f"clip{person}" / FILE_NAME)
    learnt = build(read_people(tmp_path))
    assert learnt.mean.shape == model.mean.shape and len(learnt.lower_basis) == 4
    assert float((learnt.mean[:POINTS] - model.mean[:POINTS]).norm(dim=-1).mean()) < 0.4
    for old, new in ((model.lower_basis[0], learnt.lower_basis[0]),):
        old, new = old[:POINTS].flatten(), new[:POINTS].flatten()
        assert float(old @ new / old.norm() / new.norm()) > 0.8
    assert lip_gap(learnt.mean + learnt.lower_basis[0]) > 0.3
