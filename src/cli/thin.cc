#include "cli/thin.h"

namespace karst::cli {

void add_thin(CLI::App& app, Session& session) {
  CLI::App& thin = *app.add_subcommand("thin", "Work with thin pools in files and devices");
  thin.require_subcommand(0, 1);
  add_thin_create(thin, session);
  add_thin_volume(thin, session);
  add_thin_status(thin, session);
  add_thin_serve(thin, session);
  add_thin_check(thin, session);
  add_thin_dump(thin, session);
  add_thin_restore(thin, session);
  add_thin_repair(thin, session);
  add_thin_ls(thin, session);
  add_thin_rmap(thin, session);
  add_thin_delta(thin, session);
  add_thin_size(thin, session);
  add_thin_trim(thin, session);
}

}  // namespace karst::cli
