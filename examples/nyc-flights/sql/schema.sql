-- The operational database of the example. Who inserts or updates rows has no say in inserted_at and updated_at.

create function touch() returns trigger language plpgsql as $$
begin
  new.updated_at := now();
  return new;
end $$;

create table flights (
  flight_id      bigint primary key,
  carrier        text not null,
  flight_number  integer not null,
  tailnum        text,
  origin         text not null,
  dest           text not null,
  scheduled_hour timestamptz not null,
  sched_dep_time integer not null,
  dep_time       integer,
  dep_delay      integer,
  sched_arr_time integer not null,
  arr_time       integer,
  arr_delay      integer,
  air_time       integer,
  distance       integer not null,
  inserted_at    timestamptz not null default now()
);
create index on flights (scheduled_hour);
create index on flights (inserted_at);

create table planes (
  tailnum      text primary key,
  year         integer,
  type         text not null,
  manufacturer text not null,
  model        text not null,
  engines      integer not null,
  seats        integer not null,
  speed        integer,
  engine       text not null,
  updated_at   timestamptz not null default now()
);
create trigger touch before insert or update on planes for each row execute function touch();

create table weather (
  origin     text not null,
  time_hour  timestamptz not null,
  temp       double precision,
  dewp       double precision,
  humid      double precision,
  wind_dir   integer,
  wind_speed double precision,
  wind_gust  double precision,
  precip     double precision,
  pressure   double precision,
  visib      double precision,
  updated_at timestamptz not null default now(),
  primary key (origin, time_hour)
);
create index on weather (updated_at);
create trigger touch before insert or update on weather for each row execute function touch();
