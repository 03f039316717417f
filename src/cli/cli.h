// The command line: karst SYSTEM VERB …
//
// Each verb has a file of its own, which declares its arguments and prints its answer; everything else is
// below this floor. Exit status: 0 all well; 1 the command found problems (a file that could not be read, an
// error in the image); 2 wrong usage; 3 the image or device could not be opened or the work could not be
// done.
#pragma once

namespace karst::cli {

int run(int argc, char** argv);

}  // namespace karst::cli
