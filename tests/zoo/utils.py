"""Stands in for the Model Zoo's own ci/unit_tests/utils.py; not to be copied there."""


def check_workflow(workflow, check_properties=False):
    """Initialise, check on request, run and finalise a workflow."""
    workflow.initialize()
    missing = workflow.check_properties() if check_properties else None
    if missing:
        raise ValueError(f"the config lacks {missing}")
    workflow.run()
    workflow.finalize()
