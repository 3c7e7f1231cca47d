"""Data sets: folders on disk, LLP, AVE and LFAV themselves, and a synthetic LLP that needs no files."""

from coleaf_framework.data.annotations import AnnotationIssues
from coleaf_framework.data.ave import AVE
from coleaf_framework.data.ave_files import AVE_CLASSES
from coleaf_framework.data.averaging import AveragedFrames
from coleaf_framework.data.dataset import AVVPDataset, Video, collate, stream_statistics
from coleaf_framework.data.folder import LLP, LLP_CLASSES, AVVPFolder
from coleaf_framework.data.lfav import LFAV
from coleaf_framework.data.lfav_files import LFAV_CLASSES
from coleaf_framework.data.opening import open_folder
from coleaf_framework.data.packing import pack
from coleaf_framework.data.synthetic import SyntheticLLP
from coleaf_framework.data.unav import UnAV100

__all__ = [
    "AVE",
    "AVE_CLASSES",
    "LFAV",
    "LFAV_CLASSES",
    "LLP",
    "LLP_CLASSES",
    "AVVPDataset",
    "AVVPFolder",
    "AnnotationIssues",
    "AveragedFrames",
    "SyntheticLLP",
    "UnAV100",
    "Video",
    "collate",
    "open_folder",
    "pack",
    "stream_statistics",
]
