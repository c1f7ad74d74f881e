"""Recipes, the loop, and the run folder that training leaves and everything else reads."""

from convscope.training.environment import cpu_name, environment
from convscope.training.evaluation import Evaluation, evaluate
from convscope.training.loop import EpochDone, Listener, StepDone, train
from convscope.training.prediction import Prediction, decoded, predict
from convscope.training.recipe import RECIPES, Recipe, named_recipe
from convscope.training.run import DataFacts, Run, build_network
from convscope.training.stopping import TrainingInterrupted

__all__ = [
    "RECIPES",
    "DataFacts",
    "EpochDone",
    "Evaluation",
    "Listener",
    "Prediction",
    "Recipe",
    "Run",
    "StepDone",
    "TrainingInterrupted",
    "build_network",
    "cpu_name",
    "decoded",
    "environment",
    "evaluate",
    "named_recipe",
    "predict",
    "train",
]
