"""What the runs of one process share: the accelerator, and each dataset opened once."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from oltr_cli.base.display import Display
from oltr_cli.base.machine import make_accelerator
from oltr_cli.planning.plan import Planned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from accelerate import Accelerator

    from oltr_cli.data.feed.opening import OpenedDataset


@dataclass
class Opened:
    """Opens what is asked for first, and keeps it for the next run of this process."""

    device: str | None
    display: Display
    _accelerator: "Accelerator | None" = None
    _datasets: "dict[str, OpenedDataset]" = field(default_factory=dict)

    @property
    def accelerator(self) -> "Accelerator":
        if self._accelerator is None:
            self._accelerator = make_accelerator(self.device)
        return self._accelerator

    def join_group(self) -> None:
        """Join the processes that ``torchrun`` started: from now on they can agree on what to do."""
        if self._accelerator is None:
            self.display.starting_torch()
            self._accelerator = make_accelerator(self.device)

    def dataset(self, planned: Planned, unfinished: "Sequence[Planned]") -> "OpenedDataset":
        """The dataset of a chain of runs, checked for those of it that are not finished.

        Raises:
            DataProblem: as ``open_dataset`` and ``check_outliers`` do.
        """
        from oltr_cli.data.feed.opening import open_dataset
        from oltr_cli.data.store.split import from_store
        from oltr_cli.pipeline.problems import check_outliers

        spec = planned.link.recipe.data
        key = spec.model_dump_json()
        if key in self._datasets:
            check_outliers(unfinished, self._datasets[key].splits)
            return self._datasets[key]
        with self.accelerator.main_process_first(), self.display.bar("opening the dataset", 1) as bar:
            dataset = open_dataset(spec, bar.reached)
        check_outliers(unfinished, dataset.splits)
        with self.accelerator.main_process_first():
            self._datasets[key] = from_store(dataset, self.display)
        return self._datasets[key]
