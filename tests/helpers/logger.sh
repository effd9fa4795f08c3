#!/bin/sh
# A helper: appends every line that it is told to the file that its argument names.
while read -r line && [ "$line" != shutdown ]; do
    printf '%s\n' "$line" >>"$1"
done
