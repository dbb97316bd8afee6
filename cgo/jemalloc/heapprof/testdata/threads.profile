Comment: of a test
PeriodType: space bytes
Period: 4096
Time: 2026-01-02 03:04:05 +0000 UTC
Samples:
alloc_objects/count alloc_space/bytes inuse_objects/count inuse_space/bytes[dflt]
       1026      16416        770      12312: 1 2 3 4 5 6 
          1      81920          1      81920: 7 8 9 10 11 
     381813    3054501     381813    3054501: 12 13 14 15 
Locations
     1: 0x7fe9f3222044 M=4 
     2: 0x7fe9f30bc9a9 M=3 
     3: 0x557b9ac2d112 M=1 
     4: 0x7fe9f3045249 M=3 
     5: 0x7fe9f3045304 M=3 
     6: 0x557b9ac2d1a0 M=1 
     7: 0x7fe9f3222ed8 M=4 
     8: 0x7fe9f2ea57b9 M=2 
     9: 0x7fe9f362ca1d M=8 
    10: 0x7fe9f362cb03 M=8 
    11: 0x7fe9f3642b9f M=8 
    12: 0x7fe9f32255e0 M=4 
    13: 0x557b9ac2d2a4 M=1 
    14: 0x7fe9f30a71f4 M=3 
    15: 0x7fe9f31278eb M=3 
Mappings
1: 0x557b9ac2d000/0x557b9ac2e000/0x1000 /srv/app/threads  
2: 0x7fe9f2e99000/0x7fe9f2f9a000/0x99000 /usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30  
3: 0x7fe9f3044000/0x7fe9f319a000/0x26000 /usr/lib/x86_64-linux-gnu/libc.so.6  
4: 0x7fe9f3209000/0x7fe9f32af000/0x9000 /usr/lib/x86_64-linux-gnu/libjemalloc.so.2  
5: 0x7fe9f3518000/0x7fe9f352f000/0x3000 /usr/lib/x86_64-linux-gnu/libgcc_s.so.1  
6: 0x7fe9f3545000/0x7fe9f35b9000/0x10000 /usr/lib/x86_64-linux-gnu/libm.so.6  
7: 0x7fe9f3626000/0x7fe9f3628000/0x0 [vdso]  
8: 0x7fe9f3629000/0x7fe9f364f000/0x1000 /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2  
9: 0xffffffffff600000/0xffffffffff601000/0x0 [vsyscall]  
