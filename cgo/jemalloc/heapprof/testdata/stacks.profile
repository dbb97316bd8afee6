Comment: of a test
PeriodType: space bytes
Period: 512
Time: 2026-01-02 03:04:05 +0000 UTC
Samples:
alloc_objects/count alloc_space/bytes inuse_objects/count inuse_space/bytes[dflt]
         31       3418         31       3418: 1 2 3 4 5 
         50     204850         50     204850: 1 6 7 8 9 10 
          1      81920          1      81920: 11 12 13 14 15 
         23       7596         23       7596: 16 17 18 8 9 10 
Locations
     1: 0x7f3ea4222044 M=4 
     2: 0x55beb4acc317 M=1 
     3: 0x55beb4acc361 M=1 
     4: 0x7f3ea40a71f4 M=3 
     5: 0x7f3ea41278eb M=3 
     6: 0x55beb4acc2cf M=1 
     7: 0x55beb4acc0dc M=1 
     8: 0x7f3ea4045249 M=3 
     9: 0x7f3ea4045304 M=3 
    10: 0x55beb4acc150 M=1 
    11: 0x7f3ea4222ed8 M=4 
    12: 0x7f3ea3ea57b9 M=2 
    13: 0x7f3ea46daa1d M=8 
    14: 0x7f3ea46dab03 M=8 
    15: 0x7f3ea46f0b9f M=8 
    16: 0x7f3ea42255e0 M=4 
    17: 0x55beb4acc246 M=1 
    18: 0x55beb4acc0e6 M=1 
Mappings
1: 0x55beb4acc000/0x55beb4acd000/0x1000 /srv/app/stacks  
2: 0x7f3ea3e99000/0x7f3ea3f9a000/0x99000 /usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30  
3: 0x7f3ea4044000/0x7f3ea419a000/0x26000 /usr/lib/x86_64-linux-gnu/libc.so.6  
4: 0x7f3ea4209000/0x7f3ea42af000/0x9000 /usr/lib/x86_64-linux-gnu/libjemalloc.so.2  
5: 0x7f3ea45c6000/0x7f3ea45dd000/0x3000 /usr/lib/x86_64-linux-gnu/libgcc_s.so.1  
6: 0x7f3ea45f3000/0x7f3ea4667000/0x10000 /usr/lib/x86_64-linux-gnu/libm.so.6  
7: 0x7f3ea46d4000/0x7f3ea46d6000/0x0 [vdso]  
8: 0x7f3ea46d7000/0x7f3ea46fd000/0x1000 /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2  
9: 0xffffffffff600000/0xffffffffff601000/0x0 [vsyscall]  
