"""Why a workflow is not ready or slow: facts about one version, and the rules that find problems in them."""
