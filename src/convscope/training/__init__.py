"""Recipes, the loop, and the run folder that training leaves and everything else reads."""

from convscope.training.environment import cpu_name, environment
from convscope.training.evaluation import Evaluation, evaluate
from convscope.training.loop import EpochDone, Listener, StepDone, train
from convscope.training.recipe import RECIPES, Recipe, named_recipe
from convscope.training.run import DataFacts, Prediction, Run, build_network
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
    "environment",
    "evaluate",
    "named_recipe",
    "train",
]
