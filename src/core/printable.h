// Bytes that should be text, made safe to show.
#pragma once
#include <string>
#include <string_view>

namespace karst {

// The text with each byte that is neither printable ASCII nor part of UTF-8 as \xNN, and so the control
// characters beyond ASCII: names in a broken image must not reach a terminal as commands.
std::string printable(std::string_view text);

}  // namespace karst
