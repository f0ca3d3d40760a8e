from oltr_cli.api.examination import Examination as Examination
from oltr_cli.api.examination import evaluate as evaluate
from oltr_cli.api.examination import examine as examine
from oltr_cli.api.images import ImageLike as ImageLike
from oltr_cli.api.recogniser import Recogniser as Recogniser
from oltr_cli.base.added_files import add_file as add_file
from oltr_cli.errors import DataProblem as DataProblem
from oltr_cli.errors import NotFinite as NotFinite
from oltr_cli.errors import OltrError as OltrError
from oltr_cli.errors import Stopped as Stopped
from oltr_cli.errors import UsageProblem as UsageProblem
from oltr_cli.inference.verdicts import Reasons as Reasons
from oltr_cli.inference.verdicts import Verdict as Verdict
from oltr_cli.inference.wider import Taxon as Taxon
from oltr_cli.protocol.confusions import Confusions as Confusions
from oltr_cli.protocol.evaluate import Evaluation as Evaluation
from oltr_cli.protocol.label_sets import LabelSets as LabelSets
from oltr_cli.protocol.label_sets import SetRule as SetRule
from oltr_cli.protocol.mislabelled import Suspect as Suspect
from oltr_cli.protocol.mistakes import Mistake as Mistake
from oltr_cli.protocol.per_class import PerClass as PerClass
from oltr_cli.protocol.set_coverage import SetCoverage as SetCoverage
from oltr_cli.runs.scores import SavedScores as SavedScores

__version__: str
