"""Recipes, the loop, and the run folder that training leaves and everything else reads."""

from convscope.training.environment import cpu_name, environment
from convscope.training.evaluation import Evaluation, evaluate
from convscope.training.facts import DataFacts, build_network
from convscope.training.loop import EpochDone, Event, Listener, StepDone, Warned
from convscope.training.prediction import Prediction, decoded, predict
from convscope.training.range_test import RangeTest, lr_range_test
from convscope.training.recipe import Recipe
from convscope.training.recipe_file import list_recipes, named_recipe
from convscope.training.run import Run
from convscope.training.starting import train
from convscope.training.stopping import TrainingInterrupted

__all__ = [
    "DataFacts",
    "EpochDone",
    "Evaluation",
    "Event",
    "Listener",
    "Prediction",
    "RangeTest",
    "Recipe",
    "Run",
    "StepDone",
    "TrainingInterrupted",
    "Warned",
    "build_network",
    "cpu_name",
    "decoded",
    "environment",
    "evaluate",
    "list_recipes",
    "lr_range_test",
    "named_recipe",
    "predict",
    "train",
]
