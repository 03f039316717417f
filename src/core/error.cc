#include "core/error.h"

#include <cerrno>
#include <cstring>
#include <iterator>

namespace karst {
namespace err {
const ErrorKind io{"io", nullptr, EIO};
const ErrorKind corrupt{"corrupt", nullptr, EUCLEAN};
const ErrorKind checksum{"checksum", &corrupt, EIO};
const ErrorKind not_found{"not-found", nullptr, ENOENT};
const ErrorKind exists{"exists", nullptr, EEXIST};
const ErrorKind not_a_directory{"not-a-directory", nullptr, ENOTDIR};
const ErrorKind is_a_directory{"is-a-directory", nullptr, EISDIR};
const ErrorKind no_attribute{"no-attribute", nullptr, ENODATA};
const ErrorKind too_long{"too-long", nullptr, ENAMETOOLONG};
const ErrorKind range{"range", nullptr, ERANGE};
const ErrorKind loop{"loop", nullptr, ELOOP};
const ErrorKind invalid{"invalid", nullptr, EINVAL};
const ErrorKind unsupported{"unsupported", nullptr, EOPNOTSUPP};
const ErrorKind read_only{"read-only", nullptr, EROFS};
const ErrorKind no_space{"no-space", nullptr, ENOSPC};
const ErrorKind no_memory{"no-memory", nullptr, ENOMEM};
const ErrorKind would_block{"would-block", nullptr, EAGAIN};
const ErrorKind cancelled{"cancelled", nullptr, ECANCELED};
const ErrorKind busy{"busy", nullptr, EBUSY};
const ErrorKind limit{"limit", nullptr, EFBIG};
}  // namespace err

namespace {
const ErrorKind* const errno_kinds[] = {
    &err::not_found,    &err::exists,      &err::not_a_directory, &err::is_a_directory,
    &err::no_attribute, &err::too_long,    &err::range,           &err::loop,
    &err::invalid,      &err::unsupported, &err::read_only,       &err::no_space,
    &err::no_memory,    &err::would_block, &err::cancelled,       &err::busy,
    &err::limit,
};

// Refusals of the operating system that none of our families means.
const ErrorKind permission{"permission", nullptr, EACCES};
const ErrorKind not_permitted{"not-permitted", nullptr, EPERM};
}  // namespace

Error::Error(const ErrorKind& kind, std::string what)
    : detail_(std::make_unique<Detail>(Detail{&kind, std::move(what), {}, {}, {}, {}})) {}

Error Error::from_errno(int errno_value, std::string what) {
  const ErrorKind* kind = &err::io;
  if (errno_value == EACCES) kind = &permission;
  if (errno_value == EPERM) kind = &not_permitted;
  for (const ErrorKind* candidate : errno_kinds)
    if (candidate->errno_value == errno_value) kind = candidate;
  return Error(*kind, fmt::format("{}: {}", what, std::strerror(errno_value)));
}

Error Error::clone() const { return Error(std::make_unique<Detail>(*detail_)); }

Error&& Error::while_doing(std::string operation) && {
  detail_->operations.push_back(std::move(operation));
  return std::move(*this);
}

void Error::add_place(const char* key, std::string value) {
  detail_->places.emplace_back(key, std::move(value));
}

void Error::set_expected(std::string expected, std::string found) {
  detail_->expected = std::move(expected);
  detail_->found = std::move(found);
}

std::string Error::message() const {
  std::string text;
  for (auto it = detail_->operations.rbegin(); it != detail_->operations.rend(); ++it) text += *it + ": ";
  text += detail_->what;
  if (!detail_->expected.empty() || !detail_->found.empty())
    fmt::format_to(std::back_inserter(text), " (expected {}, found {})", detail_->expected, detail_->found);
  const char* separator = " at ";
  for (const auto& [key, value] : detail_->places) {
    fmt::format_to(std::back_inserter(text), "{}{} {}", separator, key, value);
    separator = ", ";
  }
  fmt::format_to(std::back_inserter(text), " [{}]", detail_->kind->name);
  return text;
}

}  // namespace karst
