"""What ``oltr add-class`` is asked for, checked before anything is computed, and the run that it means."""

from dataclasses import dataclass

from oltr_cli.errors import UsageProblem
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.pipeline.adding.images import ClassFiles, check_not_trained_on, class_files
from oltr_cli.planning.run_hash import run_hash
from oltr_cli.recipe.specs import AddedClass, Recipe
from oltr_cli.runs.class_names import check_class_name
from oltr_cli.runs.folder import Run


@dataclass(frozen=True)
class Request:
    """What is to be added to which run.

    Attributes:
        before: the finished run of a trained method, with its own confidence.
        problem: why its training images could not be compared with the new ones; "" if they were.
    """

    before: Recogniser
    name: str
    files: ClassFiles
    problem: str

    @property
    def recipe(self) -> Recipe:
        """That of the run, with the class."""
        added = AddedClass(name=self.name, images=len(self.files), digests=tuple(sorted(self.files.digests)))
        return self.before.recipe.model_copy(update={"added": added, "detector": None})

    @property
    def run(self) -> Run:
        """The run to be made; the same images in another order make the same one."""
        start = self.before.run
        made_of = run_hash(self.recipe, f"{start.hash}-s{start.seed}")
        return Run(start.root, start.dataset, start.method, made_of, start.seed)


def request(before: Recogniser, name: str, paths: list[str]) -> Request:
    """Check what is asked for, before anything is computed.

    Raises:
        UsageProblem: the class is there already, its name is unusable, the run or the images cannot be used for it.
        DataProblem: an image cannot be read.
    """
    run = before.run
    check_class_name(name)
    if name in before.class_names:
        raise UsageProblem(
            f"{run.name} has a class '{name}' already; more images of a known class take training: sort them into its "
            "folder, and repeat oltr data build and oltr run"
        )
    if before.network.no_new_class:  # said before an image is read
        raise UsageProblem(f"{run.method} cannot take a new class: {before.network.no_new_class}")
    files = class_files(paths, name)
    return Request(before, name, files, check_not_trained_on(files, before))
