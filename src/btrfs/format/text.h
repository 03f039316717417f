// Bytes that should be text, made safe to print.
#pragma once
#include <string>
#include <string_view>

namespace karst::btrfs {

// As dump-tree prints names: letters for control characters that have one, a backslash before spaces and
// backslashes, octal for the rest that is not printable ASCII.
void append_escaped(std::string& out, std::string_view bytes);

// Valid UTF-8 without control characters.
bool is_plain_text(std::string_view bytes);

// Appends the bytes with each that is no valid UTF-8 replaced by U+FFFD; whether all were valid.
bool append_utf8(std::string& out, std::string_view bytes);

}  // namespace karst::btrfs
