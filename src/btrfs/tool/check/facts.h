// The facts that are sketched, and who receives them.
//
// Extents (subject: the extent's bytenr). The extent tree subtracts, what is found in other trees adds:
//   tree_block       {level, generation}: each pointer to a tree block; the extent item, times its refs
//   data_extent      {bytes}: each file extent; the extent item, times its refs
//   tree_ref         {root}, shared_tree_ref {parent}: each pointer; each back reference
//   data_ref         {root, inode, offset}, shared_data_ref {parent}: each file extent; each back reference,
//                    times its count
//   checksummed      {0 or 1}: each file extent, whether it wants checksums; the extent item, times its refs,
//                    whether it has them
// Files (subject: an inode); see inode_facts.h.
//   inode_name       {file type}: each DIR_ITEM subtracts; the inode adds its link count
//   inode_ref        {directory, index, name}: DIR_INDEX adds, INODE_REF and INODE_EXTREF subtract
//   directory_entry  {directory, name, type}: of the inode it is for; DIR_ITEM adds, DIR_INDEX subtracts
//   directory_size   {}: the directory adds its size, names in DIR_ITEM and DIR_INDEX subtract their lengths
//   inode_bytes      {}: the inode adds nbytes, its file extents subtract their lengths
//   inode_hole       {offset}: file extents add where they begin and subtract where they end; the inode
//   subtracts 0
//                    and adds its size, where holes must be items
//   inode_orphan     {}: an inode without links adds, its orphan item subtracts
//   root_directory   {1}: the root directory's inode; {2}: its reference to itself
//   inode_bad        {}: anything that is wrong by itself
#pragma once
#include "btrfs/tool/check/sketch.h"

namespace karst::btrfs::check {

enum class FactKind : uint8_t {
  none = 0,
  tree_block,
  data_extent,
  tree_ref,
  shared_tree_ref,
  data_ref,
  shared_data_ref,
  checksummed,
  inode_name,
  inode_ref,
  directory_entry,
  directory_size,
  inode_bytes,
  inode_hole,
  inode_orphan,
  root_directory,
  inode_bad,
};

// Receives facts, from one thread.
class FactSink {
 public:
  virtual ~FactSink() = default;
  virtual void add(const Fact& fact, Times times) = 0;
};

}  // namespace karst::btrfs::check
