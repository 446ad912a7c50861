"""`adapt doctor`: the diagnosis of this installation, in lines."""

from dataclasses import asdict

from adapt.commands.flags import DoctorConfig
from adapt.installation import doctor
from adapt.progress import Progress
from render.errors import AdaptError


class DoctorError(AdaptError):
    """Something that adapt needs is missing."""


def main(config: DoctorConfig, progress: Progress) -> None:
    """Print the diagnosis; raises `DoctorError` where something needed is missing."""
    diagnosis = doctor()
    for finding in diagnosis.findings:
        progress.say(f"{finding.state:9} {finding.subject:20} {finding.detail}")
    progress.result({"findings": [asdict(finding) for finding in diagnosis.findings]})
    if diagnosis.missing:
        raise DoctorError(f"missing: {', '.join(diagnosis.missing)}; see the lines above for how to fix each")
