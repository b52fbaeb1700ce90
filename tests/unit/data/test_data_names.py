"""What the data package exports."""

import focalkit.data


def test_every_exported_name_can_be_imported() -> None:
    assert focalkit.data.__all__ == sorted(focalkit.data._HOME)
    for name in focalkit.data.__all__:
        assert getattr(focalkit.data, name).__name__ == name
    assert set(focalkit.data.__all__) <= set(dir(focalkit.data))
