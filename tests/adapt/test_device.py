import pytest
import torch

from adapt import device
from adapt.device import one_thread, usable_device
from render.errors import ConfigError


def test_the_number_of_threads_is_put_back_whatever_happens():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(RuntimeError), one_thread():
            assert torch.get_num_threads() == 1
            raise RuntimeError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_an_unknown_device_is_refused():
    assert usable_device("cpu") == "cpu"
    with pytest.raises(ConfigError, match="--device toaster: give cpu or cuda"):
        usable_device("toaster")


def test_a_gpu_is_refused_where_the_ops_do_not_run_on_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device, "NO_CUDA", "the ops were built without CUDA; build them: pip install")
    with pytest.raises(ConfigError, match="--device cuda: the ops were built without CUDA; build them: pip install"):
        usable_device("cuda")
    monkeypatch.setattr(device, "NO_CUDA", "")
    assert usable_device("cuda:0") == "cuda:0"
