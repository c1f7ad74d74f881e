"""What is odd about an architecture, found before hours are spent on it: place, numbers, reason, remedy."""

from convscope.inspection.audit.checks import audit
from convscope.inspection.audit.finding import Finding, Severity
from convscope.inspection.audit.result import Audit

__all__ = ["Audit", "Finding", "Severity", "audit"]
