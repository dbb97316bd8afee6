module cxx

go 1.21
