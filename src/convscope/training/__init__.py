"""Recipes, the loop, and the run folder that training leaves and everything else reads."""

from convscope.training.environment import cpu_name, environment
from convscope.training.evaluation import Evaluation, evaluate
from convscope.training.events import EpochDone, Event, Listener, StepDone, Warned
from convscope.training.facts import DataFacts, build_network
from convscope.training.films import film_of_filters, films_of_maps
from convscope.training.prediction import Prediction, decoded, predict
from convscope.training.range_test import RangeTest, lr_range_test
from convscope.training.recipe import Recipe
from convscope.training.recipe_file import list_recipes, named_recipe
from convscope.training.review import Review, review
from convscope.training.run import Run
from convscope.training.runs import RunComparison, RunSummary, compare_runs, list_runs
from convscope.training.snapshots import Planes, Snapshot, epoch_name
from convscope.training.starting import train
from convscope.training.stopping import TrainingInterrupted
from convscope.training.team import is_first_process

__all__ = [
    "DataFacts",
    "EpochDone",
    "Evaluation",
    "Event",
    "Listener",
    "Planes",
    "Prediction",
    "RangeTest",
    "Recipe",
    "Review",
    "Run",
    "RunComparison",
    "RunSummary",
    "Snapshot",
    "StepDone",
    "TrainingInterrupted",
    "Warned",
    "build_network",
    "compare_runs",
    "cpu_name",
    "decoded",
    "environment",
    "epoch_name",
    "evaluate",
    "film_of_filters",
    "films_of_maps",
    "is_first_process",
    "list_recipes",
    "list_runs",
    "lr_range_test",
    "named_recipe",
    "predict",
    "review",
    "train",
]
