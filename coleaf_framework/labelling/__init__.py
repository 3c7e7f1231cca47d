"""Labels that are made: pseudo-labels of segments by a teacher, wrong modality labels found by a trained run."""
