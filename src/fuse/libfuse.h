// libfuse's low-level API, at the one version we use.
#pragma once
#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 12)
#include <fuse3/fuse_lowlevel.h>
