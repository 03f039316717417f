#include "cli/cli.h"

int main(int argc, char** argv) { return karst::cli::run(argc, argv); }
