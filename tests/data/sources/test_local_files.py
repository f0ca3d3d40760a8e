"""Files that are found by an address or a name."""

import pytest

from oltr_cli.data.sources import local_files
from oltr_cli.data.sources.local_files import LocalFiles


def below(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return LocalFiles(folder)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("https://x.org/s/d1/IMG_1.JPG", None),  # below a and b
        ("https://x.org/s/D2/img_1.jpg", "a/d2/IMG_1.JPG"),
        ("https://x.org/IMG_1.JPG", None),  # in two places
        ("https://x.org/b/d1/IMG_1.JPG", "b/d1/IMG_1.JPG"),
        ("https://x.org/c/d1/IMG_1.JPG", None),
        ("https://x.org/photos/7/medium.jpg", "photos/7/medium.jpg"),
        ("https://x.org/photos/7/large.jpg", "photos/7/medium.jpg"),
        ("https://x.org/photos/9/medium.jpg", None),  # any photograph is called so
        ("https://x.org/only/medium.png", None),
        ("medium.png", None),
        (".", None),
        ("https://x.org", None),
    ],
)
def test_the_folders_of_an_address_choose_between_files_of_one_name(tmp_path, reference, expected):
    names = ("a/d1/IMG_1.JPG", "a/d2/IMG_1.JPG", "b/d1/IMG_1.JPG", "photos/7/medium.jpg", "photos/8/medium.jpg")
    found = below(tmp_path, *names, "other/medium.png").find(reference)
    assert found == (expected and tmp_path / expected)


def test_many_files_of_one_name_are_not_all_compared_for_each(tmp_path, monkeypatch):
    """iNaturalist calls each photograph medium.jpg, in a folder of its own."""
    count = 500
    files = below(tmp_path, *(f"photos/{i}/medium.jpg" for i in range(count)))
    looked = []

    class Counted(tuple):
        def __getitem__(self, at):
            looked.append(at)
            return super().__getitem__(at)

    read = local_files.LocalFiles._read
    monkeypatch.setattr(
        local_files.LocalFiles, "_read", lambda self: {n: [Counted(f) for f in fs] for n, fs in read(self).items()}
    )
    for i in range(count):
        assert files.find(f"https://x.org/photos/{i}/medium.jpg") == tmp_path / "photos" / str(i) / "medium.jpg"
    assert len(looked) < 10 * count
