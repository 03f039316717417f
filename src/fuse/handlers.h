// The answers to the kernel's requests: from a View to libfuse's replies.
//
// Each server thread installs its own View with use_view() before it takes requests. Errors become errno
// here, and nowhere below; those that are about the image are logged, with inode and subvolume. Give a logger
// behind a rate limit: a bad sector makes one message for each page that is asked for.
#pragma once
#include "core/log.h"
#include "fuse/libfuse.h"
#include "fuse/view.h"

namespace karst::fuse {

// What the handlers need beside the View; the user data of the session.
struct HandlerContext {
  Served& served;
  const Logger& log;
  struct statvfs space;  // does not change
  bool use_acls;         // the kernel is to check permissions, with ACLs
};

// For this thread, until its next call; nullptr ends it.
void use_view(View* view);

const fuse_lowlevel_ops& handlers();

// Answers a request that libfuse does not know, if it is one of ours (statx, for the birth time); false
// otherwise.
bool handle_raw(fuse_session* session, HandlerContext& context, const fuse_buf& request);

}  // namespace karst::fuse
