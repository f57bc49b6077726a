"""Look up, check, trust and call what the `_target_`s of a config name, and hash their code."""

from sweeplab.targets.building import build, instantiate
from sweeplab.targets.defaults import default, is_optional, without_defaults
from sweeplab.targets.definition import script_names
from sweeplab.targets.files import is_file
from sweeplab.targets.functions import build_function, check_function, first_arguments
from sweeplab.targets.hashing import NUMERICS, digest, parts, source_of
from sweeplab.targets.imported import ensure_current, long_lived
from sweeplab.targets.lookup import locate
from sweeplab.targets.options import option_of, search_here
from sweeplab.targets.signatures import accepts, check
from sweeplab.targets.trust import ensure_trusted, is_lookup
