// The verbs of `karst thin`, each in the file of its name.
#pragma once
#include "cli/session.h"

namespace karst::cli {

void add_thin_create(CLI::App& thin, Session& session);
void add_thin_volume(CLI::App& thin, Session& session);
void add_thin_status(CLI::App& thin, Session& session);  // and message, events, grow
void add_thin_serve(CLI::App& thin, Session& session);
void add_thin_dump(CLI::App& thin, Session& session);
void add_thin_restore(CLI::App& thin, Session& session);
void add_thin_check(CLI::App& thin, Session& session);
void add_thin_repair(CLI::App& thin, Session& session);
void add_thin_ls(CLI::App& thin, Session& session);
void add_thin_rmap(CLI::App& thin, Session& session);
void add_thin_delta(CLI::App& thin, Session& session);
void add_thin_size(CLI::App& thin, Session& session);
void add_thin_trim(CLI::App& thin, Session& session);

}  // namespace karst::cli
