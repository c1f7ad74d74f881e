"""The figure of a network: stages told from a trace, laid out, painted as volumes to scale or as a graph of blocks."""

from convscope.report.network.painter import draw_network

__all__ = ["draw_network"]
